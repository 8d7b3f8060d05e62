# docker build -t penstock .
# docker run -p 4000:4000 -v "$PWD/config.yaml:/app/config.yaml:ro" penstock --config /app/config.yaml --port 4000 --host 0.0.0.0

FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends gcc libc6-dev >/dev/null
# The build tools, and what the compiler reads types of, go into an environment of their own, which stays behind in this
# stage.
COPY requirements-image.lock requirements-build.lock requirements-compile.lock ./
RUN python -m venv /app/venv \
 && /app/venv/bin/pip install --quiet --no-deps --require-hashes -r requirements-image.lock \
 && pip install --quiet --no-deps --require-hashes -r requirements-image.lock -r requirements-build.lock -r requirements-compile.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY scripts/compiled ./scripts/compiled
COPY penstock ./penstock
# With its hot modules compiled; docs/deploy.md says how to build it without.
ARG HATCH_BUILD_HOOKS_ENABLE=1
RUN HATCH_BUILD_HOOKS_ENABLE=$HATCH_BUILD_HOOKS_ENABLE pip wheel --quiet --no-deps --no-build-isolation -w /dist . \
 && /app/venv/bin/pip install --quiet --no-deps /dist/penstock-*.whl \
 && /app/venv/bin/pip uninstall --quiet --yes pip \
 && /app/venv/bin/python -m compileall -q /app/venv/lib

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin penstock
RUN install -d -o 10001 -g 10001 -m 700 /data
COPY --from=build /app/venv /app/venv
# Keys, teams and spend: mount a volume there, or set DATABASE_URL. Where it cannot be written it serves without them.
ENV PATH=/app/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_STATE_HOME=/data
WORKDIR /app
USER 10001
EXPOSE 4000
# A port given with --port is not visible here; PENSTOCK_PORT moves the gateway and this check together.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('PENSTOCK_PORT', '4000') + '/health/liveliness', timeout=2)"]
# Without arguments it asks for a master key rather than stand open: see docs/security.md.
ENTRYPOINT ["penstock"]
CMD ["serve", "--host", "0.0.0.0"]
