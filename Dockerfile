# The image of every Wattline service in docker-compose.yml; no Java in it: Kafka is a container of its own.
FROM python:3.12-slim

WORKDIR /opt/wattline
COPY requirements.lock scripts/install_packages.py ./
RUN PIP_NO_CACHE_DIR=1 python install_packages.py python requirements.lock && rm install_packages.py
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --no-index . \
    && useradd --uid 10001 --home-dir /var/lib/wattline --create-home wattline

# Locks, logs and the lake; a volume of compose takes over the owner of this folder.
ENV XDG_DATA_HOME=/var/lib PYTHONUNBUFFERED=1
USER wattline
CMD ["wattline"]
