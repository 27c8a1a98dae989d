// Package machine makes a machine out of Linux namespaces (processes, mounts, network) in which a whole cluster runs.
//
// Its first process holds it together: when that one ends, however it ends, the kernel kills every other
// process inside and drops every mount, interface and packet filter rule made inside. So stopping is one kill and cannot
// be incomplete; only what lies outside is undone by hand: the cable to the host, its packet filter rules, control groups
// and kernel settings, which are no namespace's. All of that is written to a record first.
//
// The package must not know what runs inside.
package machine
