package stream

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// later makes a certificate look at its files again at once.
func later(c *Certificate) *tls.Certificate {
	c.mu.Lock()
	c.checked = time.Time{}
	c.mu.Unlock()
	return c.Get()
}

func TestCertificateReloads(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := certificateFiles(t, dir, "first.example.org")
	logger, log := newLog()
	c, err := LoadCertificate(certFile, keyFile, logger)
	if err != nil {
		t.Fatal(err)
	}
	name := func() string { return later(c).Leaf.Subject.CommonName }
	if name() != "first.example.org" || c.Leaf().Subject.CommonName != "first.example.org" {
		t.Fatalf("serves %s", name())
	}
	// The certificate is there before its key: the old pair stays, and the log says so once.
	next := t.TempDir()
	nextCert, nextKey := certificateFiles(t, next, "second.example.org")
	if err := os.Rename(nextCert, certFile); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := name(); got != "first.example.org" {
			t.Errorf("serves %s with half a pair", got)
		}
	}
	if n := strings.Count(log.String(), "not reloaded"); n != 1 {
		t.Errorf("logged %d times: %s", n, log)
	}
	if err := os.Rename(nextKey, keyFile); err != nil {
		t.Fatal(err)
	}
	if c.Get().Leaf.Subject.CommonName != "first.example.org" {
		t.Error("it looked again within a second")
	}
	if got := name(); got != "second.example.org" {
		t.Errorf("serves %s", got)
	}
	// A file that goes away changes nothing either.
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := name(); got != "second.example.org" {
			t.Errorf("serves %s without a key", got)
		}
	}
	if n := strings.Count(log.String(), "not reloaded"); n != 2 {
		t.Errorf("logged %d times: %s", n, log)
	}
	// And comes back, rewritten in place.
	certificateFiles(t, dir, "third.example.org")
	if got := name(); got != "third.example.org" {
		t.Errorf("serves %s", got)
	}
}

func TestCertificateOfAListenerReloads(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := certificateFiles(t, dir, "first.example.org")
	c, err := LoadCertificate(certFile, keyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := serve(t, Options{Network: TCP, Certificate: c}, newKeeper(t))
	d := serve(t, Options{Network: DTLS, Certificate: c}, newKeeper(t))
	for _, want := range []string{"first.example.org", "second.example.org"} {
		if got := dialTLS(t, l, nil).ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("TLS shows %s, want %s", got, want)
		}
		state, _ := dialDTLS(t, d).ConnectionState()
		if !strings.Contains(string(state.PeerCertificates[0]), want) {
			t.Errorf("DTLS does not show %s", want)
		}
		certificateFiles(t, dir, "second.example.org")
		later(c)
	}
}

func TestCertificateErrors(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := certificateFiles(t, dir, "relay.example.org")
	other := filepath.Join(t.TempDir(), "none.pem")
	for _, files := range [][2]string{{other, keyFile}, {certFile, other}, {keyFile, certFile}} {
		if _, err := LoadCertificate(files[0], files[1], nil); err == nil || !strings.Contains(err.Error(), files[0]) {
			t.Errorf("%v: %v", files, err)
		}
	}
}
