#!/bin/sh
# Passwords for compose.yaml into .env, and a certificate of this machine's own for the proxy, where there are none yet:
#   sh deploy/make-secrets.sh [NAME ...]     names and addresses that others reach this machine by; `localhost` is always one
# Clients trust the certificate by PREFECT_API_SSL_CERT_FILE=deploy/tls/server.crt. One that your institution signed goes into
# the same two files. Run it on the server's machine alone: others get .env and server.crt from there, and no passwords of their own.
set -eu
cd "$(dirname "$0")/.."
umask 077

if [ -e .env ]; then
    echo ".env is there already and stays as it is."
else
    # openssl before anything is written: a .env with empty passwords would look finished
    database=$(openssl rand -hex 24)
    server=$(openssl rand -hex 16)
    sed -e "s/^POSTGRES_PASSWORD=$/POSTGRES_PASSWORD=$database/" \
        -e "s/^MAEPOSE_AUTH=$/MAEPOSE_AUTH=maepose:$server/" \
        -e "s/^MAEPOSE_USER=.*/MAEPOSE_USER=$(id -u):$(id -g)/" .env.example > .env.new
    mv .env.new .env
    echo "Wrote .env; the UI asks for what MAEPOSE_AUTH says there."
fi
# Empty: a Docker engine would make it root's.
mkdir -p data

if [ -e deploy/tls/server.key ]; then
    echo "deploy/tls is there already and stays as it is."
else
    names="DNS:localhost,IP:127.0.0.1"
    for name in "$@"; do
        case $name in
        *[!0-9.]*) names="$names,DNS:$name" ;;
        *) names="$names,IP:$name" ;;
        esac
    done
    mkdir -p deploy/tls
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 -subj "/CN=maepose" -addext "subjectAltName=$names" \
        -keyout deploy/tls/server.key -out deploy/tls/server.crt 2>/dev/null
    # Whoever is to trust it reads it.
    chmod 644 deploy/tls/server.crt
    echo "Wrote deploy/tls for $names."
fi
