# The bridge in a small image: no compiler, no package manager's cache, no root.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# What we depend on, before our own files: a change of ours does not download it again.
COPY requirements.txt requirements-build.txt ./
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.txt \
 && python -m venv --without-pip /opt/awx-bridge \
 && pip --python /opt/awx-bridge install --require-hashes --only-binary :all: -r requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
COPY simulator simulator
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && pip --python /opt/awx-bridge install --no-deps /dist/*.whl


FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="awx-event-bridge" \
      org.opencontainers.image.description="Forwards what AWX jobs do to Kafka, Slack and webhooks" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/awx-bridge/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

# A fixed number, so that Kubernetes can check that it is not root's and give it the volume.
RUN groupadd --system --gid 10001 awx-bridge \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent awx-bridge \
 && install -d -m 0700 -o 10001 -g 10001 /var/lib/awx-bridge

COPY --from=build /opt/awx-bridge /opt/awx-bridge
COPY deploy/docker/config.yaml /etc/awx-bridge/config.yaml

USER 10001:10001
WORKDIR /var/lib/awx-bridge
VOLUME /var/lib/awx-bridge
EXPOSE 8088
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
  "import http.client; c = http.client.HTTPConnection('127.0.0.1', 8088, timeout=4); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["awx-bridge"]
CMD ["run", "/etc/awx-bridge/config.yaml"]
