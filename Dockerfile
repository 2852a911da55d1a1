# Strongroom as a container: Microsoft's Functions host with the app, as an unprivileged user, on a read-only root.
#
#   docker build --tag strongroom .
#
# BASE accepts a digest; the pipeline resolves the tag to one:
#   docker build --build-arg BASE=mcr.microsoft.com/azure-functions/python@sha256:… .
ARG BASE=mcr.microsoft.com/azure-functions/python:4-python3.13

# The requirements, verified by their hashes. A stage of their own, because they change less often than the app.
FROM ${BASE} AS packages
COPY requirements.txt /tmp/requirements.txt
RUN python -m pip install --no-cache-dir --disable-pip-version-check --no-compile --only-binary=:all: --require-hashes \
    --target=/packages/.python_packages/lib/site-packages --requirement=/tmp/requirements.txt \
 # Bytecode that no timestamp invalidates: the root is read-only, so without it each start compiles every module.
 && python -m compileall -q --invalidation-mode unchecked-hash -s /packages -p /home/site/wwwroot /packages

FROM ${BASE}
# A folder for a volume: function keys, if they are stored in files. Only this user can read them.
RUN groupadd --gid 10001 strongroom \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin strongroom \
 && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/strongroom/keys
# In Azure the function keys are in Blob Storage: AzureWebJobsSecretStorageType=blob. Neither setting is a secret.
# hadolint ignore=DL3064
ENV ASPNETCORE_URLS=http://+:8080 \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureWebJobsSecretStorageType=files \
    FUNCTIONS_SECRETS_PATH=/var/lib/strongroom/keys \
    FUNCTIONS_WORKER_RUNTIME=python \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
COPY --from=packages /packages /home/site/wwwroot
COPY function_app.py host.json requirements.txt /home/site/wwwroot/
COPY shared /home/site/wwwroot/shared
RUN python -m compileall -q --invalidation-mode unchecked-hash /home/site/wwwroot/function_app.py /home/site/wwwroot/shared
COPY --chmod=755 scripts/init.sh /usr/local/bin/init
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/api/live', timeout=4)"]
# The host serves on after SIGTERM and ends at SIGINT. Docker sends what STOPSIGNAL says; the init turns SIGTERM into SIGINT
# for Container Apps and others, which send SIGTERM whatever the image says.
STOPSIGNAL SIGINT
ENTRYPOINT ["/usr/local/bin/init"]
CMD ["/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"]
