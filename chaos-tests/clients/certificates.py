"""Certificates for tests, made by openssl: an authority, and what it signs."""

import pathlib
import shutil
import subprocess

MISSING = "" if shutil.which("openssl") else "openssl is not installed"


class Authority:
    def __init__(self, folder, name="authority"):
        self.folder, self.certificate = pathlib.Path(folder), pathlib.Path(folder) / f"{name}.crt"
        self.key = self.certificate.with_suffix(".key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.certificate)

    def signed(self, name, *dates):
        """(certificate, key) for 127.0.0.1 and localhost. `dates`: openssl's own, of `x509`."""
        certificate, key, request = (self.folder / f"{name}.{kind}" for kind in ("crt", "key", "csr"))
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-copy_extensions", "copy", *(dates or ("-days", "2")), "-out", certificate)
        return certificate, key


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
