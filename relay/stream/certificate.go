package stream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often the files are looked at, at most.
const certificateCheck = time.Second

// Certificate is a certificate chain and its key from two PEM files. When the files change, it changes with them: each
// handshake looks, but no two within a second. While the new files are not good (one is replaced before the other, say)
// the old certificate stays in use, and that is logged once for each change. It is safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]fileState // guarded by mu; of the files when they were last loaded, or tried
	checked time.Time    // guarded by mu
}

// fileState is what tells a changed file.
type fileState struct {
	modified time.Time
	size     int64
	info     os.FileInfo // for os.SameFile: a file that was moved into the place may be as old and as long
}

// LoadCertificate reads a certificate chain, its leaf first, and its key. log may be nil.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, checked: time.Now()}
	c.seen, _ = c.look() // what it cannot see, load reports
	current, err := load(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	c.current = current
	return c, nil
}

func load(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return &cert, nil
}

// Get returns the certificate to use now. It must not be changed.
func (c *Certificate) Get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.checked) < certificateCheck {
		return c.current
	}
	c.checked = now
	seen, err := c.look()
	if err == nil && same(seen, c.seen) {
		return c.current
	}
	changed := !same(seen, c.seen)
	c.seen = seen
	var fresh *tls.Certificate
	if err == nil {
		fresh, err = load(c.certFile, c.keyFile)
	}
	switch {
	case err == nil:
		c.current = fresh
		c.log.Info("certificate reloaded", "file", c.certFile, "not_after", fresh.Leaf.NotAfter)
	case changed:
		c.log.Warn("certificate not reloaded, the old one stays in use", "file", c.certFile, "error", err)
	}
	return c.current
}

// Leaf returns the certificate that is in use, for what is shown of it.
func (c *Certificate) Leaf() *x509.Certificate { return c.Get().Leaf }

// look notes what the files are like. A file that cannot be seen has the zero state.
func (c *Certificate) look() (seen [2]fileState, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, statErr := os.Stat(name)
		if statErr != nil {
			err = statErr
			continue
		}
		seen[i] = fileState{modified: info.ModTime(), size: info.Size(), info: info}
	}
	return seen, err
}

func same(a, b [2]fileState) bool {
	for i := range a {
		if !a[i].modified.Equal(b[i].modified) || a[i].size != b[i].size || (a[i].info == nil) != (b[i].info == nil) ||
			a[i].info != nil && !os.SameFile(a[i].info, b[i].info) {
			return false
		}
	}
	return true
}
