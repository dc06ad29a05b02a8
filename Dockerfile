# syntax=docker/dockerfile:1

# The wheels of torch carry CUDA, and the lock has OpenVINO, which computes on the CPU (CXR_BACKEND=auto: docs/engine.md), so one
# image serves both:
#   docker build -t cxr-gate .
#   docker run --rm --read-only --tmpfs /tmp -p 8000:8000 cxr-gate
#   docker run --rm --read-only --tmpfs /tmp -p 8000:8000 --gpus all cxr-gate   (needs the NVIDIA container toolkit)
# Another bundle is mounted and named:
#   docker run ... -v "$PWD/bundle:/bundle:ro" cxr-gate serve --host 0.0.0.0 --port 8000 --bundle /bundle

# Base images are named by tag: their digests could not be asked for where this was written. make pin-images puts them in,
# where a registry can be reached; do that before an image is built for a hospital.
FROM python:3.12-slim-bookworm AS builder

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

RUN python -m venv /opt/venv
COPY requirements-serve.lock /build/
RUN /opt/venv/bin/pip install --require-hashes -r /build/requirements-serve.lock

# offline/ is not copied, so the package that is built here holds no training code. Without isolation the build backend is the
# setuptools of the lock file, and nothing is fetched that has no hash.
WORKDIR /build
COPY pyproject.toml LICENSE ./
COPY app ./app
RUN /opt/venv/bin/pip install --no-build-isolation --no-deps . \
    && rm /opt/venv/bin/cxr-offline


FROM python:3.12-slim-bookworm

RUN groupadd --gid 10001 cxr \
    && useradd --uid 10001 --gid cxr --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cxr \
    && install --directory --owner=cxr --group=cxr /state

# Caches of libraries go to /tmp, the one place that is writable under a read-only root.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME=/tmp/cache \
    TORCHINDUCTOR_CACHE_DIR=/tmp/inductor

COPY --from=builder /opt/venv /opt/venv
COPY artifacts/default /srv/artifacts/default

# The record of decisions and its key; a volume stays writable under a read-only root.
RUN install -d -o cxr -g cxr -m 0700 /srv/state
VOLUME /srv/state

WORKDIR /srv
USER 10001:10001
EXPOSE 8000

HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4).close()"]

ENTRYPOINT ["cxr-gate"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--bundle", "/srv/artifacts/default"]
