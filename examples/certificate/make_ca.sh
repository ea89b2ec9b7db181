#!/bin/sh
# Makes a certificate authority of your own: sh make_ca.sh FOLDER
set -eu
mkdir -p "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
  -subj "/CN=example CA" -addext "keyUsage=critical,keyCertSign,cRLSign" \
  -keyout "$1/ca.key" -out "$1/ca.crt"
