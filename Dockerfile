# The light install: rates, verifies, times and compares bundles. Nothing in it needs a network when it runs.
#   docker build -t mien .
#   docker run --rm -v "$PWD:/work" mien verify bundle
FROM python:3.13-slim-bookworm
COPY . /source
# uv made these pins; pip takes each but backports-strenum's, a release that says it is for older Pythons.
RUN grep -v '^backports-strenum==' /source/requirements.lock > /source/pins
RUN pip install --no-cache-dir --constraint /source/pins /source && rm -r /source
RUN useradd --create-home mien
USER mien
WORKDIR /work
ENTRYPOINT ["mien"]
