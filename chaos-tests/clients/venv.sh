#!/usr/bin/env bash
# Makes .venv with the client libraries of requirements.txt, once; or another VENV with other REQUIREMENTS, of which MODULES can be imported.
. "$(dirname "${BASH_SOURCE[0]}")/../../deploy/local/lib.sh"
cd "$root"
folder=${VENV:-.venv}
wanted=${REQUIREMENTS:-chaos-tests/clients/requirements.txt}
modules=${MODULES:-redis, pika, grpc, grpc_tools, pytest, yaml, kubernetes_validate}
if cmp -s "$wanted" "$folder/installed.txt" && "$folder/bin/python" -c "import $modules" 2>/dev/null; then exit 0; fi

step "python client libraries into $folder"
rm -rf "$folder"
python=python3
"$python" -c 'import ensurepip, venv' 2>/dev/null || python=/usr/bin/python3
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
cp "$wanted" "$folder/installed.txt"
