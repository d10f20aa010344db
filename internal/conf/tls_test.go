package conf

import (
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTLSFaults(t *testing.T) {
	const section = "    tls:\n      certificate: causeway.pem\n      key: causeway.key\n      ca: ca.pem\n"
	checkFaults(t, []faultTest{
		{name: "no certificate", old: section, broken: "",
			more: []string{"listen: [tls:", "listen: [«tls:", `next_hop: "sip`, `next_hop: «"sip`},
			want: []string{
				"mediation.pool.listen[0] uses TLS, and mediation.pool.tls names no certificate; add mediation.pool.tls: {certificate: FILE, key: FILE}, or use tcp",
				"mediation.pool.next_hop uses TLS, and mediation.pool.tls names no certificate; add mediation.pool.tls: {certificate: FILE, key: FILE}, or use tcp"}},
		fault("no key", "      key: causeway.key\n", "",
			"").at("      certificate: ", "mediation.pool.tls.certificate stands without its key; add mediation.pool.tls.key"),
		fault("no certificate for the key", "      certificate: causeway.pem\n", "",
			"").at("      key: ", "mediation.pool.tls.key stands without its certificate; add mediation.pool.tls.certificate"),
		{name: "authority alone", old: section, broken: "", more: []string{"  gateway:\n", "  gateway:\n    tls: {ca: «ca.pem}\n",
			"listen: [tls:", "listen: [tcp:", ";transport=tls", ";transport=tcp"},
			want: []string{"mediation.gateway.tls.ca stands without a certificate of our own; add mediation.gateway.tls.certificate and mediation.gateway.tls.key, or remove it"}},
		fault("certificate that is not there", "certificate: causeway.pem", "certificate: «none.pem",
			"mediation.pool.tls.certificate FOLDER/none.pem cannot be read: no such file or directory; name a PEM file that this user may read"),
		fault("certificate that is a folder", "certificate: causeway.pem", "certificate: «.",
			"mediation.pool.tls.certificate FOLDER cannot be read: is a directory; name a PEM file that this user may read"),
		fault("key that is not there", "key: causeway.key", "key: «none.key",
			"mediation.pool.tls.key FOLDER/none.key cannot be read: no such file or directory; name a PEM file that this user may read"),
		fault("key for a certificate", "certificate: causeway.pem", "certificate: «causeway.key",
			"mediation.pool.tls.certificate FOLDER/causeway.key holds no certificate; name a PEM file with a CERTIFICATE block"),
		fault("key of another certificate", "key: causeway.key", "key: «endpoint.key",
			"mediation.pool.tls.key FOLDER/endpoint.key is no key for FOLDER/causeway.pem: tls: private key does not match public key; name the unencrypted PEM key that the certificate was made with"),
		fault("authority without certificate", "ca: ca.pem", "ca: «ca.key",
			"mediation.pool.tls.ca FOLDER/ca.key holds no certificate; name a PEM file with the certificates of the authorities"),
		fault("authority that is not there", "ca: ca.pem", "ca: «none.pem",
			"mediation.pool.tls.ca FOLDER/none.pem cannot be read: no such file or directory; name a PEM file that this user may read"),
		{name: "relay listener", old: "tcp://192.0.2.30:443]\n  tls: {certificate: endpoint.pem, key: endpoint.key}\n", broken: "«tls://192.0.2.30:443]\n",
			want: []string{"relay.listen[1] uses TLS, and relay.tls names no certificate; add relay.tls: {certificate: FILE, key: FILE}, or use tcp"}},
	})
}

// at moves the mark of a fault test to a value that the edit leaves alone.
func (f faultTest) at(key, want string) faultTest {
	f.more, f.want = append(f.more, key, key+"«"), []string{want}
	return f
}

func TestDates(t *testing.T) {
	folder := certificateFolder(t)
	load := func(now time.Time) string {
		h := testHost()
		h.now = func() time.Time { return now }
		_, _, err := parse(filepath.Join(folder, "c.yaml"), []byte(valid), h, nil)
		if err == nil {
			return ""
		}
		return strings.ReplaceAll(err.Error(), folder+"/", "")
	}
	for _, tt := range []struct {
		now  time.Time
		want string
	}{
		{today.Add(labCertificateLife), ""},
		{today.Add(labCertificateLife + time.Second), "c.yaml:8:22: relay.tls.certificate endpoint.pem expired on 2027-03-01; replace it\n" +
			"c.yaml:21:20: mediation.pool.tls.certificate causeway.pem expired on 2027-03-01; replace it"},
		{today.Add(-labBackdate), ""},
		{today.Add(-labBackdate - time.Second), "c.yaml:8:22: relay.tls.certificate endpoint.pem is not valid before 2026-03-01 11:00:00; check the clock of this host, or replace it\n" +
			"c.yaml:21:20: mediation.pool.tls.certificate causeway.pem is not valid before 2026-03-01 11:00:00; check the clock of this host, or replace it\n" +
			"c.yaml:23:11: mediation.pool.tls.ca ca.pem is not valid before 2026-03-01 11:00:00; check the clock of this host, or replace it"},
		{today.Add(labAuthorityLife + time.Second), "c.yaml:8:22: relay.tls.certificate endpoint.pem expired on 2027-03-01; replace it\n" +
			"c.yaml:21:20: mediation.pool.tls.certificate causeway.pem expired on 2027-03-01; replace it\n" +
			"c.yaml:23:11: mediation.pool.tls.ca ca.pem expired on 2036-02-27; replace it"},
	} {
		if got := load(tt.now); got != tt.want {
			t.Errorf("%v: got\n%s\nwant\n%s", tt.now, got, tt.want)
		}
	}
}

// TestOneGoodAuthority has a bundle of which one certificate has expired.
func TestOneGoodAuthority(t *testing.T) {
	folder := certificateFolder(t)
	old := labFiles{dir: filepath.Join(t.TempDir(), "old"), now: today.Add(-2 * labAuthorityLife)}
	if err := old.ensure(); err != nil {
		t.Fatal(err)
	}
	expired, err := os.ReadFile(old.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "ca.pem"), append(expired, good...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := parse(filepath.Join(folder, "c.yaml"), []byte(valid), testHost(), nil); err != nil {
		t.Error(err)
	}
}

func TestLab(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	cfg, err := Lab(state)
	if err != nil {
		t.Fatal(err)
	}
	m := cfg.Mediation
	if cfg.StateDir != state || cfg.Relay == nil || m == nil {
		t.Fatalf("state %q, relay %v, mediation %v", cfg.StateDir, cfg.Relay, m)
	}
	want := TLS{Certificate: state + "/lab/causeway.pem", Key: state + "/lab/causeway.key", CA: state + "/lab/ca.pem"}
	if cfg.Relay.TLS != want {
		t.Errorf("TLS of the relay %v, want %v", cfg.Relay.TLS, want)
	}
	want.Clients = ClientsOptional
	if m.Pool.TLS != want {
		t.Errorf("TLS of the pool %v, want %v", m.Pool.TLS, want)
	}
	want.Clients = ClientsRequired
	if m.Gateway.TLS != want {
		t.Errorf("TLS of the gateway %v, want %v", m.Gateway.TLS, want)
	}
	if k := cfg.Relay.Credentials; k.Certificate != state+"/lab/av.pem" || k.Key != state+"/lab/av.key" || k.TLS != cfg.Relay.TLS ||
		k.Listen != netip.MustParseAddrPort("127.0.0.1:5063") || k.Lifetime != 8*time.Hour {
		t.Errorf("credentials %+v", k)
	}
	if m.Pool.Listen[0].String() != "tls://127.0.0.1:5061" || m.Gateway.Listen.String() != "tcp://127.0.0.2:5060" ||
		m.Pool.NextHop != (SIPURI{Host: "127.0.0.1", Port: 15061, Transport: "tls"}) || m.Gateway.Peer != (SIPURI{Host: "127.0.0.3", Port: 5060, Transport: "tcp"}) {
		t.Errorf("sides %+v", m)
	}
	for name, mode := range map[string]os.FileMode{
		"": 0o700 | os.ModeDir, "ca.pem": 0o600, "ca.key": 0o600, "causeway.pem": 0o600, "causeway.key": 0o600, "endpoint.pem": 0o600, "endpoint.key": 0o600,
		"av.pem": 0o600, "av.key": 0o600,
	} {
		info, err := os.Stat(filepath.Join(state, "lab", name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%q: %v, %v, want %v", name, info, err, mode)
		}
	}
	entries, err := os.ReadDir(filepath.Join(state, "lab"))
	if err != nil || len(entries) != 8 {
		t.Errorf("files left over: %v, %v", entries, err)
	}
}

func TestLabFileAloneNeedsCertificates(t *testing.T) {
	text, err := os.ReadFile("../../configs/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = parse("lab.yaml", text, testHost(), nil)
	if err == nil || !strings.Contains(err.Error(), "mediation.pool.tls names no certificate") {
		t.Errorf("a copy of the lab file: %v", err)
	}
}

func TestLabKeepsAndRenews(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	serials := func(now time.Time) map[string]string {
		t.Helper()
		l := labFiles{dir: dir, now: now}
		if err := l.ensure(); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		ca := readCertificate(t, l.path("ca.pem"))
		for _, name := range []string{"ca", "causeway", "endpoint", "av"} {
			cert := readCertificate(t, l.path(name+".pem"))
			got[name] = cert.SerialNumber.String()
			if _, err := l.load(name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if name != "ca" && !serves(cert, ca, now) {
				t.Errorf("%s is of no use under the authority", name)
			}
		}
		return got
	}
	expect := func(step string, before, after map[string]string, renewed ...string) {
		t.Helper()
		for name := range before {
			want := false
			for _, r := range renewed {
				want = want || r == name
			}
			if (before[name] != after[name]) != want {
				t.Errorf("%s: %s renewed: %v, want %v", step, name, !want, want)
			}
		}
	}
	first := serials(today)
	expect("same day", first, serials(today))
	expect("still good", first, serials(today.Add(labCertificateLife-labRenewBefore-time.Second)))
	second := serials(today.Add(labCertificateLife - labRenewBefore))
	expect("about to expire", first, second, "causeway", "endpoint", "av")

	if err := os.WriteFile(filepath.Join(dir, "causeway.key"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := serials(today.Add(labCertificateLife))
	expect("damaged key", second, third, "causeway")

	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	fourth := serials(today.Add(labCertificateLife))
	expect("lost authority", third, fourth, "ca", "causeway", "endpoint", "av")
	expect("clock set back", fourth, serials(today.Add(-2*labBackdate)), "ca", "causeway", "endpoint", "av")
}

func readCertificate(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	certs := parseCertificates(text)
	if len(certs) != 1 {
		t.Fatalf("%s: %d certificates", file, len(certs))
	}
	return certs[0]
}

func TestLabInAnUnwritableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Lab(filepath.Join(file, "state")); err == nil || !strings.HasPrefix(err.Error(), "make the state folder: ") {
		t.Errorf("got %v", err)
	}
}
