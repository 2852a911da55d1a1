#!/bin/sh
# Sets the image and the settings, and restarts the service. Azure Resource Manager runs it whenever they change;
# virtual-machine.bicep replaces the names in double underscores.
set -eu
umask 077
# cloud-init installs podman.
cloud-init status --wait >/dev/null
mkdir -p /etc/strongroom
printf %s '__ENVIRONMENT__' | base64 -d >/etc/strongroom/environment
printf %s '__REGISTRY__' >/etc/strongroom/registry
sed -i 's|^Image=.*|Image=__REGISTRY__/__IMAGE__|' /etc/containers/systemd/strongroom.container
systemctl daemon-reload
systemctl restart strongroom.service
