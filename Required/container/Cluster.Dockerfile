# The workers of a Dask cluster, see docs/cluster.md. From the project's folder, after building all-server from Dockerfile:
#
#   docker build -f Required/container/Cluster.Dockerfile -t registry.example.org/all-cluster:2.0.0 .
FROM all-server

COPY Required/requirements-cluster.txt Required/
COPY Required/cluster/dask.yaml /etc/dask/
USER root
RUN python -m pip install --no-cache-dir -r Required/requirements-cluster.txt
USER all

HEALTHCHECK NONE
ENTRYPOINT ["python"]
