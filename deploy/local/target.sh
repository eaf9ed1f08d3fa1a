#!/usr/bin/env bash
# Prints the target directory that cargo uses here.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
target_directory
