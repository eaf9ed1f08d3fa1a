"""The Debian package: are its units valid and hardened, and do the programs take the settings that it installs?"""

import re
import shutil
import subprocess

import pytest

from cluster import REPOSITORY, binary

DEBIAN = REPOSITORY / "deploy" / "debian"
# Of systemd-analyze security: 0 is locked up, 10 is as root without a wall.
MOST_EXPOSED = 2.0


@pytest.mark.parametrize("name", ["node", "sentinel"])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_valid_and_hardened(name, tmp_path):
    unit = tmp_path / f"tercet-{name}.service"
    text = (DEBIAN / unit.name).read_text()
    commands = re.findall(r"^Exec\w+=(.*)$", text, re.M)
    assert f"/usr/bin/tercet-{name} --config /etc/tercet/{name}.toml" in commands
    # The programs are not installed here.
    unit.write_text(re.sub(r"^(Exec\w+)=/usr/bin/tercet.*$", r"\1=/bin/true", text, flags=re.M))
    valid = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert valid.returncode == 0 and not valid.stderr, valid.stderr
    security = subprocess.run(["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True, text=True)
    exposed = re.search(r"exposure level for \S+: ([\d.]+)", security.stdout)
    assert exposed and float(exposed[1]) <= MOST_EXPOSED, security.stdout


@pytest.mark.parametrize("name", ["node", "sentinel"])
def test_the_program_takes_the_settings_that_are_installed(name):
    command = [binary(f"tercet-{name}"), "--config", str(DEBIAN / f"{name}.toml"), "--check-config"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
