package conf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The texts of the valid configuration that the relay's tests replace.
const (
	relayListen = "listen: [udp://192.0.2.30:3478, tcp://192.0.2.30:443]"
	relayTLS    = "  tls: {certificate: endpoint.pem, key: endpoint.key}\n"
	relayUsers  = "  users: {alice: secret}\n"
	relayPorts  = "  ports: 50000-59999\n"
)

const reservedPortReason = "port 5062 stays free for the SIP authentication of A/V users, which stands there beside an A/V Edge"

// avKeys is a credentials section without fault, as a line of the relay section.
const avKeys = "certificate: av.pem, key: av.key"

func TestRelayFaults(t *testing.T) {
	checkFaults(t, []faultTest{
		fault("dtls without certificate", relayListen+"\n"+relayTLS, "listen: [«dtls://192.0.2.30]\n",
			"relay.listen[0] uses DTLS, and relay.tls names no certificate; add relay.tls: {certificate: FILE, key: FILE}, or use udp"),
		{name: "internal side uses the same certificate", old: relayListen + "\n" + relayTLS, broken: "listen: [udp://192.0.2.30]\n  internal: {listen: [«tls://10.0.0.5, «dtls://10.0.0.5]}\n",
			want: []string{
				"relay.internal.listen[0] uses TLS, and relay.tls names no certificate; add relay.tls: {certificate: FILE, key: FILE}, or use tcp",
				"relay.internal.listen[1] uses DTLS, and relay.tls names no certificate; add relay.tls: {certificate: FILE, key: FILE}, or use udp"}},
		fault("every IPv4 address", relayListen, "listen: [«udp://0.0.0.0:3478]",
			`relay.listen[0] "udp://0.0.0.0:3478" listens on every address of the host; write the one address that peers are to use, or one listener for each`),
		fault("every IPv6 address", relayListen, "listen: [«'tcp://[::]:443']",
			`relay.listen[0] "tcp://[::]:443" listens on every address of the host; write the one address that peers are to use, or one listener for each`),
		fault("multicast", relayListen, "listen: [«udp://224.0.0.1]",
			`relay.listen[0] "udp://224.0.0.1" listens on a multicast address; write the address of an interface of this host`),
		fault("dtls on the mediation side", "listen: [tls://192.0.2.10:5061]", "listen: [«dtls://192.0.2.10:5061]",
			`mediation.pool.listen[0] "dtls://192.0.2.10:5061" is no listener; write udp://, tcp:// or tls:// and an address, such as tls://192.0.2.10`),
		fault("udp and dtls on one port", relayListen, "listen: [udp://192.0.2.30:3478, «dtls://192.0.2.30:3478]",
			"relay.listen[1] listens on 192.0.2.30:3478, which relay.listen[0] listens on already; change the address or the port of one"),
		fault("both sides on one port", relayPorts, relayPorts+"  internal: {listen: [«tls://192.0.2.30:443]}\n",
			"relay.internal.listen[0] listens on 192.0.2.30:443, which relay.listen[1] listens on already; change the address or the port of one"),
		fault("internal listener in the range", relayPorts, relayPorts+"  internal: {listen: [«udp://192.0.2.30:50001]}\n",
			"relay.internal.listen[0] listens on 192.0.2.30:50001, a port inside relay.ports 50000-59999 on the same address; move it out of the range"),
		fault("reserved port outside", relayListen, "listen: [«udp://192.0.2.30:5062]",
			"relay.listen[0] listens on port 5062: "+reservedPortReason+"; choose another port"),
		fault("reserved port inside", relayPorts, relayPorts+"  internal: {listen: [«tcp://10.0.0.5:5062]}\n",
			"relay.internal.listen[0] listens on port 5062: "+reservedPortReason+"; choose another port"),
		fault("reserved port in the range", relayPorts, "  ports: «5000-5999\n",
			"relay.ports 5000-5999 contains 5062: "+reservedPortReason+"; choose a range without it, 50000-59999 by default"),

		fault("no relay address", relayPorts, relayPorts+"  relay_addresses: [«'']\n",
			"relay.relay_addresses[0] is empty; write an IP address of this host or remove it"),
		fault("two relay addresses", relayPorts, relayPorts+"  relay_addresses: [192.0.2.30, '2001:db8::30', «192.0.2.31]\n",
			"relay.relay_addresses[2] is a second IPv4 address beside 192.0.2.30; relay ports are bound on one of each family, so remove one"),
		fault("external address of another family", relayPorts, relayPorts+"  external_address: «'2001:db8::30'\n",
			"relay.external_address is 2001:db8::30, and no relay address is IPv6; add one to relay.relay_addresses, or correct it"),
		fault("translated address in an array", relayPorts, relayPorts+"  array: true\n  nonce_secret: 0123456789abcdef\n  external_address: «203.0.113.7\n",
			"relay.external_address is 203.0.113.7 and the relay ports are bound on 192.0.2.30; with array: true each relay has to have the address that it tells clients, so remove external_address or set relay_addresses: [203.0.113.7]"),
		fault("range on relay addresses alone", relayPorts, relayPorts+"  relay_addresses: [192.0.2.10]\n  internal: {listen: [«udp://192.0.2.10:50001]}\n",
			"relay.internal.listen[0] listens on 192.0.2.10:50001, a port inside relay.ports 50000-59999 on the same address; move it out of the range"),

		fault("short nonce secret", relayPorts, relayPorts+"  nonce_secret: «fifteen-letters\n",
			"relay.nonce_secret has 15 characters, few enough to be found by trying; write at least 16 random ones, such as openssl rand -hex 16 makes"),
		fault("nonce lifetime", relayPorts, relayPorts+"  nonce_lifetime: «59s\n",
			`relay.nonce_lifetime "59s" is too short; the least is 1m`),
		fault("default lifetime above the longest", relayPorts, relayPorts+"  lifetime: {default: «40m, max: 30m}\n",
			"relay.lifetime.default leads to a default lifetime of 40m0s and a longest one of 30m0s; raise max or lower it"),
		fault("longest lifetime below the default", relayPorts, relayPorts+"  lifetime: {max: «5m}\n",
			"relay.lifetime.max leads to a default lifetime of 10m0s and a longest one of 5m0s; raise it"),
		fault("limit too low", relayPorts, relayPorts+"  limits: {permissions: «0}\n",
			"relay.limits.permissions is 0; it must be a whole number from 1 to 4096, in decimal"),
		fault("limit too high", relayPorts, relayPorts+"  limits: {channels: «4097}\n",
			"relay.limits.channels is 4097; it must be a whole number from 1 to 4096, in decimal"),
		fault("alternate that is this relay", relayPorts, relayPorts+"  alternate_servers: [198.51.100.1:3478, «192.0.2.30:443]\n",
			"relay.alternate_servers[1] is 192.0.2.30:443, this relay itself, so clients would go in circles; write the address of another relay"),
		fault("alternate that is this relay behind its NAT", relayPorts, relayPorts+"  external_address: 203.0.113.7\n  alternate_servers: [«203.0.113.7:3478]\n",
			"relay.alternate_servers[0] is 203.0.113.7:3478, this relay itself, so clients would go in circles; write the address of another relay"),
		fault("alternate without port", relayPorts, relayPorts+"  alternate_servers: [«203.0.113.7]\n",
			`relay.alternate_servers[0] "203.0.113.7" is no address with a port; write one such as 127.0.0.1:8480`),
		fault("alternate that is nobody", relayPorts, relayPorts+"  alternate_servers: [«0.0.0.0:3478]\n",
			"relay.alternate_servers[0] is no address of a server; write the address and port of another relay, such as 203.0.113.11:3478"),
	})
}

func TestCredentialsFaults(t *testing.T) {
	section := func(keys string) string { return "  credentials: {" + keys + "}\n" }
	checkFaults(t, []faultTest{
		fault("no certificate", relayUsers, "  credentials: «{lifetime: 1h}\n",
			"relay.credentials names no A/V authentication certificate; add certificate: FILE and key: FILE"),
		fault("no key", relayUsers, section("certificate: «av.pem"),
			"relay.credentials.certificate stands without its key; add relay.credentials.key"),
		fault("key alone", relayUsers, section("key: «av.key"),
			"relay.credentials.key stands without its certificate; add relay.credentials.certificate"),
		fault("key of another certificate", relayUsers, section("certificate: av.pem, key: «endpoint.key"),
			"relay.credentials.key FOLDER/endpoint.key is no key for FOLDER/av.pem: tls: private key does not match public key; name the unencrypted PEM key that the certificate was made with"),
		fault("certificate that is not there", relayUsers, section("certificate: «none.pem, key: av.key"),
			"relay.credentials.certificate FOLDER/none.pem cannot be read: no such file or directory; name a PEM file that this user may read"),
		fault("previous key that is not there", relayUsers, section(avKeys+", previous_key: «none.key"),
			"relay.credentials.previous_key FOLDER/none.key cannot be read: no such file or directory; name a PEM file that this user may read"),
		fault("previous key that is a certificate", relayUsers, section(avKeys+", previous_key: «ca.pem"),
			"relay.credentials.previous_key FOLDER/ca.pem is no key: no private key in it; name an unencrypted PEM key"),
		fault("lifetime above the longest", relayUsers, section(avKeys+", lifetime: «48h"),
			"relay.credentials.lifetime leads to a lifetime of 48h0m0s and a longest one of 24h0m0s; raise max_lifetime or lower it"),
		fault("longest below the lifetime", relayUsers, section(avKeys+", max_lifetime: «1h"),
			"relay.credentials.max_lifetime leads to a lifetime of 8h0m0s and a longest one of 1h0m0s; raise it or set lifetime"),
		fault("listener without certificate", relayUsers, section(avKeys+", listen: «10.0.0.5:5063, tls: {}"),
			"relay.credentials.listen asks for client certificates, and nothing says whose; add relay.credentials.tls.ca: the authority of the servers that may ask for credentials"),
		{name: "listener with an authority alone", old: relayUsers, broken: section(avKeys + ", listen: «10.0.0.5:5063, tls: {ca: «ca.pem}"),
			want: []string{
				"relay.credentials.listen uses TLS, and relay.credentials.tls names no certificate; add relay.credentials.tls: {certificate: FILE, key: FILE}, or remove listen",
				"relay.credentials.tls.ca stands without a certificate of our own; add relay.credentials.tls.certificate and relay.credentials.tls.key, or remove it"}},
		fault("listener without authority", relayUsers, section(avKeys+", listen: «10.0.0.5:5063, tls: {certificate: causeway.pem, key: causeway.key}"),
			"relay.credentials.listen asks for client certificates, and nothing says whose; add relay.credentials.tls.ca: the authority of the servers that may ask for credentials"),
		fault("listener on the reserved port", relayUsers, section(avKeys+", listen: «10.0.0.5:5062, tls: {certificate: causeway.pem, key: causeway.key, ca: ca.pem}"),
			"relay.credentials.listen listens on port 5062: "+reservedPortReason+"; choose another port"),
		fault("listener on every address", relayUsers, section(avKeys+", listen: «0.0.0.0:5063, tls: {certificate: causeway.pem, key: causeway.key, ca: ca.pem}"),
			"relay.credentials.listen 0.0.0.0:5063 is every address of the host; write the one of the internal side that servers ask for credentials at"),
		fault("listener on no port", relayUsers, section(avKeys+", listen: «10.0.0.5:0, tls: {certificate: causeway.pem, key: causeway.key, ca: ca.pem}"),
			"relay.credentials.listen 10.0.0.5:0 has no port; write one, such as 10.0.0.5:5063"),
		fault("listener where another is", relayUsers, section(avKeys+", listen: «192.0.2.30:443, tls: {certificate: causeway.pem, key: causeway.key, ca: ca.pem}"),
			"relay.credentials.listen listens on 192.0.2.30:443, which relay.listen[1] listens on already; change the address or the port of one"),
	})
}

func TestRelayWarnings(t *testing.T) {
	checkWarnings(t, []faultTest{
		{name: "tcp without certificate", old: relayListen + "\n" + relayTLS, broken: "listen: [udp://192.0.2.30:3478, «tcp://192.0.2.30:443]\n  internal: {listen: [«tcp://10.0.0.5]}\n",
			want: []string{
				"relay.listen[1] speaks no TLS, since relay.tls names no certificate: clients behind a proxy or a firewall that lets nothing but TLS pass cannot come in; add relay.tls: {certificate: FILE, key: FILE}",
				"relay.internal.listen[0] speaks no TLS, since relay.tls names no certificate: clients behind a proxy or a firewall that lets nothing but TLS pass cannot come in; add relay.tls: {certificate: FILE, key: FILE}"}},
		fault("both sides on one address", relayPorts, relayPorts+"  internal: {listen: [«udp://192.0.2.30:3479]}\n",
			"relay.internal.listen[0] is on 192.0.2.30, where relay.listen[0] is as well: the two sides are then separated by port numbers alone; give each side an address of its own"),
		fault("array without nonce secret", relayPorts, relayPorts+"  array: «true\n",
			"relay.array is true and nonce_secret is not set: a client that the load balancer moves to another relay is asked to authenticate anew; write the same nonce_secret on all relays of the array"),
		fault("every peer", "allow: [127.0.0.0/8]", "allow: [127.0.0.0/8, «'::/0']",
			"relay.peers.allow[1] ::/0 names every address: the built-in denials protect nothing any more, this host's own services included; name the networks that are meant"),
		fault("every internal peer", relayPorts, relayPorts+"  internal: {peers: {allow: [«0.0.0.0/0]}}\n",
			"relay.internal.peers.allow[0] 0.0.0.0/0 names every address: every peer counts as internal, and federation limits nobody; name the networks that are meant"),
		fault("limit of a user above that of all", relayPorts, relayPorts+"  limits: {allocations_per_user: «51, allocations: 50}\n",
			"relay.limits.allocations_per_user 51 is more than the 50 of limits.allocations, so it limits nobody; lower it or raise the other"),
		fault("limit of a prefix above that of all", relayPorts, relayPorts+"  limits: {tcp_clients_per_prefix: «51, tcp_clients: 50}\n",
			"relay.limits.tcp_clients_per_prefix 51 is more than the 50 of limits.tcp_clients, so it limits nobody; lower it or raise the other"),
		fault("more allocations than ports", relayPorts, "  ports: 50000-50099\n  limits: {allocations: «101}\n",
			"relay.limits.allocations 101 is more than the 100 UDP ports that relay.ports 50000-50099 gives on the relay addresses, so clients are refused before; widen the range or lower the limit"),
		{name: "as many allocations as ports of both families", old: relayPorts, broken: "  ports: 50000-50099\n  relay_addresses: [192.0.2.30, '2001:db8::30']\n  limits: {allocations: 200}\n"},

		{name: "certificate of another purpose", old: relayUsers, broken: "  credentials: {certificate: «endpoint.pem, key: endpoint.key}\n", want: []string{
			"relay.credentials.certificate FOLDER/endpoint.pem serves relay.tls as well: whoever gets at the key there can make credentials for every user, and neither can be replaced without the other; give A/V authentication a certificate of its own"}},
		{name: "certificate of mediation", old: relayUsers, broken: "  credentials: {certificate: «causeway.pem, key: causeway.key}\n", want: []string{
			"relay.credentials.certificate FOLDER/causeway.pem serves mediation.pool.tls as well: whoever gets at the key there can make credentials for every user, and neither can be replaced without the other; give A/V authentication a certificate of its own"}},
		{name: "certificate of its own listener", old: relayUsers, broken: "  credentials: {certificate: «av.pem, key: av.key, listen: 10.0.0.5:5063, tls: {certificate: av.pem, key: av.key, ca: ca.pem}}\n", want: []string{
			"relay.credentials.certificate FOLDER/av.pem serves relay.credentials.tls as well: whoever gets at the key there can make credentials for every user, and neither can be replaced without the other; give A/V authentication a certificate of its own"}},
		fault("previous key that is the key", relayUsers, "  credentials: {"+avKeys+", previous_key: «av.key}\n",
			"relay.credentials.previous_key FOLDER/av.key is the key of the certificate itself: the one before it is accepted no longer; name that one, or remove previous_key"),
		fault("credentials from the internet", relayUsers, "  credentials: {"+avKeys+", listen: «192.0.2.30:5063, tls: {certificate: causeway.pem, key: causeway.key, ca: ca.pem}}\n",
			"relay.credentials.listen is on 192.0.2.30, the address of relay.listen[0], where the internet comes in; choose an address of the internal side"),
		{name: "rotation", old: relayUsers, broken: "  credentials: {" + avKeys + ", previous_key: endpoint.key}\n"},
	})
}

// TestSharedKeyInAnotherCertificate has the A/V key certified a second time, under another name.
func TestSharedKeyInAnotherCertificate(t *testing.T) {
	folder := certificateFolder(t)
	key, err := os.ReadFile(filepath.Join(folder, "av.key"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := parsePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	template := labFiles{now: today}.template("again", labCertificateLife)
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	again := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{"endpoint.pem": again, "endpoint.key": key} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := replace(t, relayUsers, "  credentials: {"+avKeys+"}\n")
	_, warnings, err := parse(filepath.Join(folder, "c.yaml"), []byte(text), testHost(), nil)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].Text, "av.pem serves relay.tls as well") {
		t.Errorf("got %v, %v", warnings, err)
	}
}

func TestPrivateKeyForms(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}}) // as openssl writes it
	for _, tt := range []struct {
		name      string
		blockType string
		der       []byte
		want      string
	}{
		{"PKCS 8", "PRIVATE KEY", pkcs8, ""},
		{"SEC 1", "EC PRIVATE KEY", sec1, ""},
		{"PKCS 1", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), ""},
		{"encrypted", "ENCRYPTED PRIVATE KEY", pkcs8, "no private key in it"},
		{"damaged", "PRIVATE KEY", pkcs8[1:], "asn1: "},
	} {
		text := slices.Concat(parameters, pem.EncodeToMemory(&pem.Block{Type: tt.blockType, Bytes: tt.der}))
		_, err := parsePrivateKey(text)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestRelayAddresses(t *testing.T) {
	folder := certificateFolder(t)
	v4, v6 := netip.MustParseAddr("192.0.2.30"), netip.MustParseAddr("2001:db8::30")
	for _, tt := range []struct {
		name, listen, more string
		want               []netip.Addr
	}{
		{"of listen", "[udp://192.0.2.30]", "", []netip.Addr{v4}},
		{"first of each family", "[udp://192.0.2.30, udp://192.0.2.31, 'tls://[2001:db8::30]', 'udp://[2001:db8::31]']", "", []netip.Addr{v4, v6}},
		{"given", "[udp://192.0.2.31]", "  relay_addresses: ['2001:db8::30']\n", []netip.Addr{v6}},
		{"none in the file", "[udp://192.0.2.30]", "  relay_addresses: []\n", []netip.Addr{v4}},
	} {
		text := replace(t, relayListen, "listen: "+tt.listen+"\n"+tt.more)
		cfg, _, err := parse(filepath.Join(folder, "c.yaml"), []byte(text), testHost(), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if !slices.Equal(cfg.Relay.RelayAddresses, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, cfg.Relay.RelayAddresses, tt.want)
		}
	}
}

func TestRelayAddressOfAFamily(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.30"), netip.MustParseAddr("2001:db8::30")
	r := Relay{RelayAddresses: []netip.Addr{v6, v4}}
	for _, tt := range []struct{ of, want netip.Addr }{
		{netip.MustParseAddr("198.51.100.1"), v4},
		{netip.MustParseAddr("::1"), v6},
		{netip.Addr{}, netip.Addr{}},
	} {
		if got, ok := r.RelayAddress(tt.of); got != tt.want || ok != tt.want.IsValid() {
			t.Errorf("%v: got %v, %v", tt.of, got, ok)
		}
	}
}

// TestEverySettingOfTheRelay reads a section in which nothing is left to a default.
func TestEverySettingOfTheRelay(t *testing.T) {
	folder := certificateFolder(t)
	text := `relay:
  realm: example.org
  listen: [udp://192.0.2.30, tcp://192.0.2.30, tls://192.0.2.30:5349, dtls://192.0.2.30]
  tls: {certificate: endpoint.pem, key: endpoint.key}
  workers: 3
  ports: 50000-50999
  relay_addresses: [192.0.2.31]
  external_address: 203.0.113.31
  internal:
    listen: [udp://10.0.0.5]
    peers: {allow: [10.0.0.0/24], deny: [10.0.0.1]}
  port_quarantine: 0s
  array: false
  users: {bob: builder}
  rest_secrets: [one]
  credentials:
    {certificate: av.pem, key: av.key, previous_key: ca.key, lifetime: 1h, max_lifetime: 2h, listen: 10.0.0.5:5063,
     tls: {certificate: causeway.pem, key: causeway.key, ca: ca.pem}}
  nonce_secret: 0123456789abcdef
  nonce_lifetime: 5m
  lifetime: {default: 5m, max: 30m}
  mobility: false
  strict_expiry: true
  alternate_servers: [203.0.113.40:3478, '[2001:db8::40]:3478']
  peers: {allow: [192.168.1.0/24], deny: [198.51.100.0/24]}
  federation: r2
  limits:
    {allocations_per_user: 1, allocations: 2, permissions: 3, channels: 4, packets_per_second: 5, bytes_per_second: 6,
     bandwidth: 7, pending_connections: 8, tcp_clients: 10, tcp_clients_per_prefix: 9, unauthenticated_replies: 11,
     unauthenticated_burst: 12}
`
	cfg, warnings, err := parse(filepath.Join(folder, "c.yaml"), []byte(text), testHost(), nil)
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	r := cfg.Relay
	k := r.Credentials
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"tls port", r.Listen[2], Listen{"tls", netip.MustParseAddrPort("192.0.2.30:5349")}},
		{"dtls port", r.Listen[3], Listen{"dtls", netip.MustParseAddrPort("192.0.2.30:5349")}},
		{"workers", r.Workers, 3},
		{"external address", r.ExternalAddress, netip.MustParseAddr("203.0.113.31")},
		{"internal listen", r.Internal.Listen[0], Listen{"udp", netip.MustParseAddrPort("10.0.0.5:3478")}},
		{"internal allow", r.Internal.Peers.Allow[0], netip.MustParsePrefix("10.0.0.0/24")},
		{"internal deny", r.Internal.Peers.Deny[0], netip.MustParsePrefix("10.0.0.1/32")},
		{"quarantine", r.PortQuarantine, time.Duration(0)},
		{"certificate", k.Certificate, filepath.Join(folder, "av.pem")},
		{"key", k.Key, filepath.Join(folder, "av.key")},
		{"previous key", k.PreviousKey, filepath.Join(folder, "ca.key")},
		{"lifetimes", [2]time.Duration{k.Lifetime, k.MaxLifetime}, [2]time.Duration{time.Hour, 2 * time.Hour}},
		{"issuer", k.Listen, netip.MustParseAddrPort("10.0.0.5:5063")},
		{"issuer's authority", k.TLS.CA, filepath.Join(folder, "ca.pem")},
		{"nonce secret", r.NonceSecret.Reveal(), "0123456789abcdef"},
		{"nonce lifetime", r.NonceLifetime, 5 * time.Minute},
		{"lifetime", r.Lifetime, RelayLifetime{5 * time.Minute, 30 * time.Minute}},
		{"mobility", r.Mobility, false},
		{"strict expiry", r.StrictExpiry, true},
		{"alternate", r.AlternateServers[1], netip.MustParseAddrPort("[2001:db8::40]:3478")},
		{"limits", r.Limits, RelayLimits{1, 2, 3, 4, 5, 6, 7, 8, 10, 9, 11, 12}},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}
