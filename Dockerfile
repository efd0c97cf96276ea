# syntax=docker/dockerfile:1
# GPU (default):  docker build -t assayd .
# CPU:            docker build -t assayd:cpu --build-arg BASE=python:3.12-slim --build-arg RUNTIME=cpu .

# CUDA 13 and cuDNN 9 come with the base, so that the runtime is gpu-system: onnxruntime-gpu without their wheels.
ARG BASE=nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04

FROM ${BASE} AS python
# The CUDA base has no Python; the same one has to make and to run the environment.
RUN command -v python3 \
    || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*)

FROM python AS build
ARG RUNTIME=gpu-system
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY clients/python clients/python
# The same install as `make setup`, without what only developers need.
RUN python3 -m venv /opt/assay && /opt/assay/bin/python -m pip install --no-cache-dir ".[server,jwt,${RUNTIME}]"

FROM python AS assayd
LABEL org.opencontainers.image.title="assayd" org.opencontainers.image.licenses="Apache-2.0"
# Numbers, since a cluster that forbids root looks at these.
RUN groupadd --gid 10001 assay && useradd --uid 10001 --gid assay --no-create-home --shell /usr/sbin/nologin assay \
    && install -d -o assay -g assay /var/lib/assay
COPY --from=build /opt/assay /opt/assay
# Health has an address of its own here, since the other one may want certificates.
ENV PATH=/opt/assay/bin:$PATH PYTHONUNBUFFERED=1 ASSAYD_PROBES=127.0.0.1:50052
USER 10001:10001
VOLUME /var/lib/assay
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["assayd", "health"]
ENTRYPOINT ["assayd"]
CMD ["serve", "--listen", "0.0.0.0:50051", "--metrics", "0.0.0.0:9464", "--store", "/var/lib/assay"]
