package pki

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// verify checks leaf against the authority for one usage and, for servers, one host.
func verify(t *testing.T, authority *Authority, leaf Pair, usage x509.ExtKeyUsage, host string) error {
	t.Helper()
	pair, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
	if err != nil {
		t.Fatalf("certificate and key do not belong together: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority.Cert) {
		t.Fatal("authority is not PEM")
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: host,
	})
	return err
}

func TestIssue(t *testing.T) {
	authority, err := NewAuthority("test", now)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := NewAuthority("test", now)
	if err != nil {
		t.Fatal(err)
	}
	client, err := authority.Issue(Subject{User: "system:node:n1", Groups: []string{"system:nodes"}})
	if err != nil {
		t.Fatal(err)
	}
	server, err := authority.Issue(Subject{User: "kube-apiserver", Hosts: []string{"localhost", "10.96.0.1"}})
	if err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		name      string
		authority *Authority
		leaf      Pair
		usage     x509.ExtKeyUsage
		host      string
		valid     bool
	}{
		{"client as client", authority, client, x509.ExtKeyUsageClientAuth, "", true},
		{"client as server", authority, client, x509.ExtKeyUsageServerAuth, "", false},
		{"server by name", authority, server, x509.ExtKeyUsageServerAuth, "localhost", true},
		{"server by address", authority, server, x509.ExtKeyUsageServerAuth, "10.96.0.1", true},
		{"server by other name", authority, server, x509.ExtKeyUsageServerAuth, "example.org", false},
		{"server as client", authority, server, x509.ExtKeyUsageClientAuth, "", false},
		{"other authority of the same name", stranger, client, x509.ExtKeyUsageClientAuth, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := verify(t, test.authority, test.leaf, test.usage, test.host)
			if (err == nil) != test.valid {
				t.Errorf("verify = %v, want valid %v", err, test.valid)
			}
		})
	}

	pair, err := tls.X509KeyPair(client.Cert, client.Key)
	if err != nil {
		t.Fatal(err)
	}
	if subject := pair.Leaf.Subject.String(); subject != "CN=system:node:n1,O=system:nodes" {
		t.Errorf("subject = %s", subject)
	}
}
