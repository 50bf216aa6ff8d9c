# Two targets: `service` runs admission, the API and the tools; `worker` adds the model runtime, which is large.
FROM python:3.11-slim AS service
RUN useradd --uid 1000 --no-create-home easel && install -d -o easel -g easel /var/lib/easel
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/easel
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas ./schemas
COPY transport ./transport
COPY consumer ./consumer
COPY producer_api ./producer_api
COPY ops ./ops
RUN pip install --constraint constraints.txt ".[service,api,tracing]"
COPY models.yaml ./
USER easel
CMD ["easel", "--help"]

FROM service AS worker
USER root
RUN pip install --constraint constraints.txt ".[service,worker,tracing]"
COPY models ./models
USER easel
CMD ["easel", "worker"]
