package issue

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// authorityCheck is how often the file is looked at, at most.
const authorityCheck = time.Second

// authority is the certificates of a PEM file, which follow the file when it changes. It is safe for concurrent use.
type authority struct {
	file string
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex // guards the following
	current *x509.CertPool
	seen    os.FileInfo // nil: the file could not be seen
	checked time.Time
}

func loadAuthority(file string, now func() time.Time, log *slog.Logger) (*authority, error) {
	a := &authority{file: file, now: now, log: log, checked: now()}
	a.seen, _ = os.Stat(file) // what is wrong with it, reading it tells
	var err error
	a.current, err = readAuthority(file)
	if err != nil {
		return nil, err
	}
	return a, nil
}

func readAuthority(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("relay.credentials.tls.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("relay.credentials.tls.ca: %s: %w", file, errors.New("no certificate in it"))
	}
	return pool, nil
}

// pool returns the certificates to use now. They must not be changed.
func (a *authority) pool() *x509.CertPool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if now.Sub(a.checked) < authorityCheck {
		return a.current
	}
	a.checked = now
	seen, _ := os.Stat(a.file) // nil when it cannot be seen, which reading it explains
	if sameFile(seen, a.seen) {
		return a.current
	}
	a.seen = seen
	fresh, err := readAuthority(a.file)
	if err != nil {
		a.log.Warn("authorities not reloaded, the old ones stay in use", "file", a.file, "error", err)
		return a.current
	}
	a.log.Info("authorities reloaded", "file", a.file)
	a.current = fresh
	return fresh
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}
