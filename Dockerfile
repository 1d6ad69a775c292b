# One image for every service: `docker run mercato serve order`. See docs/deploying.md.

FROM python:3.12-slim AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# Locked wheels only, so there is no compiler; this layer stays until a lock file changes.
COPY requirements/prod.lock requirements/build.lock requirements/
RUN python -m venv --without-pip /opt/mercato \
 && python -m pip --python /opt/mercato install --only-binary :all: --require-hashes \
      --requirement requirements/prod.lock \
 && python -m pip install --only-binary :all: --require-hashes \
      --requirement requirements/build.lock

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /build/dist . \
 && python -m pip --python /opt/mercato install --no-deps /build/dist/*.whl


FROM python:3.12-slim
COPY --from=build /opt/mercato /opt/mercato

# The container's own port is the service's default (API: 8080, 50051 ... 50054) or $PORT.
ENV PATH=/opt/mercato/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0

RUN useradd --system --uid 10001 --user-group --no-create-home mercato
USER 10001:10001
WORKDIR /opt/mercato

STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
  CMD ["mercato", "health"]
ENTRYPOINT ["mercato"]
CMD ["serve", "gateway"]
