# Two images: `worker`, which is all that production needs, and `tools`, which adds Flower and the simulator.
ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS libraries
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/venv
COPY requirements.lock .
RUN /opt/venv/bin/pip install --require-hashes -r requirements.lock

FROM libraries AS more-libraries
COPY requirements-tools.lock .
RUN /opt/venv/bin/pip install --require-hashes -r requirements-tools.lock

# The migrations lie beside the package, so nothing is installed: the checkout is what runs.
FROM python:${PYTHON} AS program
WORKDIR /app
COPY alembic.ini LICENSE ./
COPY migrations migrations
COPY worker68 worker68
RUN python -m compileall -q worker68 migrations \
    && printf '#!/opt/venv/bin/python\nfrom worker68.cli.start import main\n\nmain()\n' > /usr/local/bin/worker68 \
    && chmod 755 /usr/local/bin/worker68 \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin worker68
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENV WORKER68_HEALTH_FILE=/tmp/worker68-health
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=2 CMD ["worker68", "health"]
ENTRYPOINT ["worker68"]
CMD ["worker"]

FROM program AS tools
COPY --from=more-libraries /opt/venv /opt/venv

# Last, so that it is what `docker build .` builds.
FROM program AS worker
COPY --from=libraries /opt/venv /opt/venv
