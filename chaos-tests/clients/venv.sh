#!/usr/bin/env bash
# Makes .venv with the client libraries of requirements.txt, once.
. "$(dirname "${BASH_SOURCE[0]}")/../../deploy/local/lib.sh"
cd "$root"
wanted=chaos-tests/clients/requirements.txt
if cmp -s "$wanted" .venv/installed.txt && .venv/bin/python -c 'import redis, pika, grpc, grpc_tools, pytest, yaml, kubernetes_validate' 2>/dev/null; then exit 0; fi

step "python client libraries into .venv"
rm -rf .venv
python=python3
"$python" -c 'import ensurepip, venv' 2>/dev/null || python=/usr/bin/python3
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$wanted"
cp "$wanted" .venv/installed.txt
