#!/bin/sh
# Puts the image and the settings in place, and starts the service anew. Resource Manager runs it when these change;
# virtual-machine.bicep fills in the names in double underscores.
set -eu
umask 077
# podman is there when this is done.
cloud-init status --wait >/dev/null
mkdir -p /etc/strongroom
printf %s '__ENVIRONMENT__' | base64 -d >/etc/strongroom/environment
printf %s '__REGISTRY__' >/etc/strongroom/registry
sed -i 's|^Image=.*|Image=__REGISTRY__/__IMAGE__|' /etc/containers/systemd/strongroom.container
systemctl daemon-reload
systemctl restart strongroom.service
