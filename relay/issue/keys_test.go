package issue

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"causeway/internal/conf"
)

func TestLoadSigners(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, blocks ...*pem.Block) string {
		t.Helper()
		var text []byte
		for _, b := range blocks {
			text = append(text, pem.EncodeToMemory(b)...)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := newKey(t)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	otherDER, err := x509.MarshalPKCS8PrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	current := write("av.key", &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	again := write("again.key", &pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}, &pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})
	previous := write("previous.key", &pem.Block{Type: "PRIVATE KEY", Bytes: otherDER})
	locked := write("locked.key", &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: pkcs8})
	certificate := write("av.pem", &pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})
	damaged := write("damaged.key", &pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})
	for _, tt := range []struct {
		name          string
		key, previous string
		signers       int
		want          string
	}{
		{"one key", current, "", 1, ""},
		{"two keys", current, previous, 2, ""},
		{"the same key twice, in two forms", current, again, 1, ""},
		{"no file", dir + "/none.key", "", 0, "relay.credentials.key: open " + dir + "/none.key: no such file or directory"},
		{"no previous file", current, dir + "/none.key", 0, "relay.credentials.previous_key: open " + dir + "/none.key: no such file or directory"},
		{"encrypted", locked, "", 0, "relay.credentials.key: " + locked + ": the private key in it is encrypted"},
		{"certificate", certificate, "", 0, "relay.credentials.key: " + certificate + ": no private key in it"},
		{"damaged", damaged, "", 0, "relay.credentials.key: " + damaged + ": not a private key in PKCS #8, PKCS #1 or SEC 1 form"},
	} {
		signers, err := LoadSigners(&conf.RelayCredentials{Key: tt.key, PreviousKey: tt.previous})
		if len(signers) != tt.signers || (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%s: %d signers, %v, want %q", tt.name, len(signers), err, tt.want)
		}
	}
	if signers, err := LoadSigners(nil); signers != nil || err != nil {
		t.Errorf("without a section: %v, %v", signers, err)
	}
}

func TestURIs(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "authority")
	certificate := func(name string, names ...string) string {
		t.Helper()
		cert := ca.issue(pkix.Name{CommonName: "relay"}, func(c *x509.Certificate) { c.DNSNames = names })
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	named := certificate("named.pem", "*.example.org", "av.example.org") // and 127.0.0.1
	nameless := certificate("nameless.pem")
	listen := func(urls ...string) []conf.Listen {
		var list []conf.Listen
		for _, u := range urls {
			network, addr, _ := strings.Cut(u, "://")
			list = append(list, conf.Listen{Network: network, Addr: netip.MustParseAddrPort(addr)})
		}
		return list
	}
	all := listen("tls://192.0.2.1:5349", "udp://192.0.2.1:3478", "tcp://192.0.2.1:443", "dtls://192.0.2.1:5349", "udp://[2001:db8::1]:3478")
	for _, tt := range []struct {
		name string
		r    conf.Relay
		side Side
		want []string
	}{
		{"plain", conf.Relay{Listen: listen("udp://192.0.2.1:3478", "tcp://192.0.2.1:443")}, External, []string{
			"turn:192.0.2.1:3478?transport=udp", "turn:192.0.2.1:443?transport=tcp"}},
		{"all, by name", conf.Relay{Listen: all, TLS: conf.TLS{Certificate: named}}, External, []string{
			"turn:192.0.2.1:3478?transport=udp", "turn:192.0.2.1:443?transport=tcp", "turn:[2001:db8::1]:3478?transport=udp",
			"turns:av.example.org:5349?transport=tcp", "turns:av.example.org:443?transport=tcp", "turns:av.example.org:5349?transport=udp"}},
		{"certificate without a name", conf.Relay{Listen: listen("tls://192.0.2.1:443"), TLS: conf.TLS{Certificate: nameless}}, External,
			[]string{"turns:192.0.2.1:443?transport=tcp"}},
		{"certificate with the address", conf.Relay{Listen: listen("tls://127.0.0.1:443"), TLS: conf.TLS{Certificate: named}}, External,
			[]string{"turns:127.0.0.1:443?transport=tcp"}},
		{"NAT", conf.Relay{
			Listen: listen("udp://192.0.2.1:3478", "udp://192.0.2.2:3478", "udp://[2001:db8::1]:3478"), TLS: conf.TLS{Certificate: named},
			RelayAddresses:  []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
			ExternalAddress: netip.MustParseAddr("203.0.113.7"),
		}, External, []string{"turn:203.0.113.7:3478?transport=udp", "turn:192.0.2.2:3478?transport=udp", "turn:[2001:db8::1]:3478?transport=udp"}},
		{"internal", conf.Relay{Listen: all, Internal: conf.RelayInternal{Listen: listen("udp://10.0.0.5:3478")}}, Internal,
			[]string{"turn:10.0.0.5:3478?transport=udp"}},
		{"no internal side", conf.Relay{Listen: all}, Internal, []string{}},
	} {
		if got := URIs(&tt.r, tt.side); got == nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	both := AllURIs(&conf.Relay{Listen: all, Internal: conf.RelayInternal{Listen: listen("udp://10.0.0.5:3478")}})
	if len(both[External]) != 3 || len(both[Internal]) != 1 {
		t.Errorf("both sides: %v", both)
	}
}
