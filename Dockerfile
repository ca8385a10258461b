# syntax=docker/dockerfile:1
# softllama serve: an HTTP server that speaks OpenAI's API. docs/serve.md says how to run it.
#   docker build --tag softllama .                              CPU
#   docker build --tag softllama --build-arg BACKEND=cuda .     NVIDIA's GPUs
ARG BACKEND=cpu
ARG CUDA=12.6.3

# Not for the processor that builds: the image runs on any with AVX2.
FROM ubuntu:24.04 AS build-cpu
ENV CMAKE_ARGS="-DGGML_NATIVE=OFF"

# The driver's library is there where the image runs, not where it is built.
FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS build-cuda
ENV CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_CUDA=ON -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined"

FROM build-${BACKEND} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/softllama
# llama.cpp takes minutes, and is built again only where the list of dependencies changes
COPY pyproject.toml /src/
RUN /opt/softllama/bin/python -c "import tomllib; p = tomllib.load(open('/src/pyproject.toml', 'rb'))['project']; \
print(*p['dependencies'], *p['optional-dependencies']['serve'], *p['optional-dependencies']['hub'], sep='\n')" > /src/needs.txt \
    && /opt/softllama/bin/pip install --no-cache-dir --requirement /src/needs.txt
COPY . /src
RUN /opt/softllama/bin/pip install --no-cache-dir --no-deps /src

FROM ubuntu:24.04 AS run-cpu
FROM nvidia/cuda:${CUDA}-runtime-ubuntu24.04 AS run-cuda

FROM run-${BACKEND}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --uid 10001 softllama \
    && install --directory --owner softllama /models /cache
COPY --from=build /opt/softllama /opt/softllama
ENV PATH=/opt/softllama/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SOFTLLAMA_MODELS=/models \
    SOFTLLAMA_CACHE=/cache/softllama \
    HF_HOME=/cache/huggingface
USER 10001
WORKDIR /models
VOLUME ["/models", "/cache"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["softllama", "serve", "--host", "0.0.0.0", "--port", "8080"]
