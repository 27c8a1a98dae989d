package cluster

import (
	"time"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/pki"
)

// identityFiles makes the certificates and kubeconfigs of all components, by path.
func (l Layout) identityFiles(config Config, now time.Time) (map[string][]byte, error) {
	authority, err := pki.NewAuthority("localcluster", now)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{l.pki("ca.crt"): authority.Cert, l.pki("ca.key"): authority.Key}
	files[l.pki("service-accounts.key")], files[l.pki("service-accounts.pub")], err = pki.NewKeyPair()
	if err != nil {
		return nil, err
	}

	leaf := func(name string, subject pki.Subject) (pki.Pair, error) {
		pair, err := authority.Issue(subject)
		files[l.pki(name+".crt")], files[l.pki(name+".key")] = pair.Cert, pair.Key
		return pair, err
	}
	if _, err := leaf("kube-apiserver", pki.Subject{User: "kube-apiserver", Hosts: []string{
		"localhost", "127.0.0.1", config.network().Gateway.String(), config.apiService().String(),
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}}); err != nil {
		return nil, err
	}
	if _, err := leaf("kubelet-client", pki.Subject{User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}); err != nil {
		return nil, err
	}

	inside := config.insideServer()
	kubeconfig := func(path, server string, pair pki.Pair, user string) error {
		content, err := render("kubeconfig", map[string]any{"Server": server, "CA": authority.Cert, "Cert": pair.Cert, "Key": pair.Key, "User": user})
		files[path] = content
		return err
	}
	for name, subject := range map[string]pki.Subject{
		"kube-controller-manager": {User: "system:kube-controller-manager"},
		"kube-scheduler":          {User: "system:kube-scheduler"},
		"kube-proxy":              {User: "system:kube-proxy"},
		"admin":                   {User: "localcluster-admin", Groups: []string{"system:masters"}},
	} {
		pair, err := leaf(name, subject)
		if err != nil {
			return nil, err
		}
		if err := kubeconfig(l.etc(name+".kubeconfig"), inside, pair, name); err != nil {
			return nil, err
		}
		if name == "admin" {
			if err := kubeconfig(l.Kubeconfig(), config.hostServer(), pair, name); err != nil {
				return nil, err
			}
		}
	}
	for _, n := range l.nodes(config) {
		user, groups := "system:node:"+n.Name(), []string{"system:nodes"}
		pair, err := leaf(n.program("node"), pki.Subject{User: user, Groups: groups})
		if err != nil {
			return nil, err
		}
		if err := kubeconfig(n.config("kubelet.kubeconfig"), inside, pair, n.Name()); err != nil {
			return nil, err
		}
		if _, err := leaf(n.program("kubelet"), pki.Subject{User: user, Groups: groups, Hosts: []string{n.Name(), n.Address().String()}}); err != nil {
			return nil, err
		}
	}
	return files, nil
}
