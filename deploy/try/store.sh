#!/bin/bash
# Ceph's S3 gateway with a cluster of one in memory: a store that checks signatures.
set -euo pipefail
folder=/var/lib/ceph/try
rm -rf "$folder"
mkdir -p "$folder/mon" "$folder/osd"
cluster=$(cat /proc/sys/kernel/random/uuid)
osd=$(cat /proc/sys/kernel/random/uuid)

cat >/etc/ceph/ceph.conf <<CONF
[global]
fsid = $cluster
mon_host = [v1:127.0.0.1:6789]
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_bind_msgr2 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_objectstore = memstore
memstore_device_bytes = 1073741824
mon_data = $folder/mon
osd_data = $folder/osd
run_dir = $folder
log_file = $folder/\$name.log
pid_file = $folder/\$name.pid
admin_socket = $folder/\$name.\$pid.asok
rgw_frontends = beast endpoint=0.0.0.0:8333
CONF

monmaptool --create --addv a '[v1:127.0.0.1:6789]' --fsid "$cluster" "$folder/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$folder/monmap"
ceph-mon -i a
ceph osd new "$osd" >/dev/null
ceph-osd -i 0 --mkfs --osd-uuid "$osd"
# Refused at times, with "wrong fsid", while the monitor is still young.
for _ in {1..20}; do ceph-osd -i 0 && break || sleep 0.5; done
radosgw-admin user create --uid try --display-name try \
  --access-key "$AWS_ACCESS_KEY_ID" --secret-key "$AWS_SECRET_ACCESS_KEY" >/dev/null
exec radosgw -f -n client.rgw
