# Stand-ins for the images of docker-compose.yml, from Debian's packages: for machines that reach no image
# registry. Each takes the command and the environment that the real one takes, as far as that file uses them.
ARG DEBIAN=localhost/enlarger-try/debian

FROM ${DEBIAN} AS python
RUN apt-get update -qq \
 && apt-get install -qy --no-install-recommends python3 python3-pip python3-venv >/dev/null \
 && ln -s python3 /usr/bin/python && rm -rf /var/lib/apt/lists /var/cache/apt

FROM ${DEBIAN} AS postgres
RUN apt-get update -qq \
 && apt-get install -qy --no-install-recommends postgresql-15 >/dev/null \
 && rm -rf /var/lib/postgresql/* && chown postgres /var/lib/postgresql
ENV PATH=/usr/lib/postgresql/15/bin:$PATH
COPY postgres.sh /usr/local/bin/
ENTRYPOINT ["postgres.sh"]

FROM ${DEBIAN} AS redis
RUN apt-get update -qq \
 && apt-get install -qy --no-install-recommends redis-server >/dev/null \
 && ln -s redis-server /usr/bin/valkey-server && ln -s redis-cli /usr/bin/valkey-cli \
 && useradd --no-create-home --home-dir /data valkey
WORKDIR /data

FROM ${DEBIAN} AS store
RUN apt-get update -qq \
 && apt-get install -qy --no-install-recommends radosgw ceph-mon ceph-osd ceph-common >/dev/null
COPY store.sh /usr/local/bin/
# For the health check: Ceph's gateway has no address for that; that it listens says as much.
RUN printf '#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/8333\n' >/usr/local/bin/wget \
 && chmod +x /usr/local/bin/wget
VOLUME /data
ENTRYPOINT ["store.sh"]

FROM ${DEBIAN} AS front
RUN apt-get update -qq && apt-get install -qy --no-install-recommends caddy wget >/dev/null
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile"]

FROM ${DEBIAN} AS prometheus
RUN apt-get update -qq \
 && apt-get install -qy --no-install-recommends prometheus >/dev/null \
 && rm -rf /etc/prometheus && install -d -o nobody /prometheus
ENTRYPOINT ["prometheus"]
