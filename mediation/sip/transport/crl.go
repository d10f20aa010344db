package transport

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// crlInterval is how often a file of revocation lists is looked at for a
// change, at most.
const crlInterval = time.Second

// revocation is a file of certificate revocation lists (RFC 5280 5). Its
// methods may be called from any goroutine.
type revocation struct {
	path        string
	authorities []*x509.Certificate // issuers that are known beforehand
	now         func() time.Time
	log         *slog.Logger // nil: nobody is told

	mu      sync.Mutex // guards the following
	lists   []revocationList
	looked  time.Time // when the file was looked at last
	changed time.Time // its modification time then
	size    int64
}

// revocationList is one list and its serial numbers.
type revocationList struct {
	*x509.RevocationList
	serials map[string]bool
}

// loadRevocation reads a file of lists. One that cannot be used is an error;
// one that has expired is not, since a newer one may come.
func loadRevocation(path string, authorities []*x509.Certificate, now func() time.Time, log *slog.Logger) (*revocation, error) {
	r := &revocation{path: path, authorities: authorities, now: now, log: log, looked: now()}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the revocation lists: %w", err)
	}
	r.changed, r.size = info.ModTime(), info.Size()
	if r.lists, err = r.read(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *revocation) read() ([]revocationList, error) {
	data, err := os.ReadFile(r.path)
	if err != nil {
		return nil, fmt.Errorf("read the revocation lists: %w", err)
	}
	ders, err := splitLists(data)
	if err != nil {
		return nil, fmt.Errorf("read the revocation lists of %s: %w", r.path, err)
	}
	lists := make([]revocationList, 0, len(ders))
	for _, der := range ders {
		list, err := r.parse(der)
		if err != nil {
			return nil, fmt.Errorf("read the revocation lists of %s: %w", r.path, err)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// splitLists returns the lists of a file of either form.
func splitLists(data []byte) ([][]byte, error) {
	var ders [][]byte
	if bytes.Contains(data, []byte("-----BEGIN")) {
		for {
			var block *pem.Block
			if block, data = pem.Decode(data); block == nil {
				break
			}
			if block.Type == "X509 CRL" {
				ders = append(ders, block.Bytes)
			}
		}
	} else {
		for len(data) > 0 {
			var raw asn1.RawValue
			rest, err := asn1.Unmarshal(data, &raw)
			if err != nil {
				return nil, err
			}
			ders, data = append(ders, raw.FullBytes), rest
		}
	}
	if len(ders) == 0 {
		return nil, errors.New("it holds no list")
	}
	return ders, nil
}

// parse reads one list. Its signature is checked here where its issuer is
// known; where it is an authority in between, when that is shown.
func (r *revocation) parse(der []byte) (revocationList, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return revocationList{}, err
	}
	issuer := list.Issuer.String()
	if list.NextUpdate.IsZero() {
		return revocationList{}, fmt.Errorf("the list of %s does not say when it expires (RFC 5280 5.1.2.5)", issuer)
	}
	for _, e := range list.Extensions {
		if e.Critical {
			// A delta or a part of a list; taken for the whole it would clear
			// certificates that it does not speak of (RFC 5280 5.2).
			return revocationList{}, fmt.Errorf("the list of %s has the critical extension %s: lists in parts are not supported", issuer, e.Id)
		}
	}
	known, signed := false, false
	for _, authority := range r.authorities {
		if bytes.Equal(authority.RawSubject, list.RawIssuer) {
			known = true
			signed = signed || list.CheckSignatureFrom(authority) == nil
		}
	}
	if known && !signed {
		return revocationList{}, fmt.Errorf("the list of %s is not signed by the authority of that name", issuer)
	}
	serials := make(map[string]bool, len(list.RevokedCertificateEntries))
	for _, entry := range list.RevokedCertificateEntries {
		serials[entry.SerialNumber.String()] = true
	}
	return revocationList{list, serials}, nil
}

// current are the lists of the file as it is now, give or take crlInterval.
func (r *revocation) current() []revocationList {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.looked) < crlInterval {
		return r.lists
	}
	r.looked = now
	info, err := os.Stat(r.path)
	if err == nil && info.ModTime().Equal(r.changed) && info.Size() == r.size {
		return r.lists
	}
	var lists []revocationList
	if err == nil {
		r.changed, r.size = info.ModTime(), info.Size()
		lists, err = r.read()
	}
	switch {
	case err == nil:
		r.lists = lists
		if r.log != nil {
			r.log.Info("revocation lists read anew", "file", r.path, "lists", len(lists))
		}
	case r.log != nil:
		r.log.Warn("revocation lists not read anew, the old ones stay", "file", r.path, "err", err)
	}
	return r.lists
}

// check passes a certificate when one of its chains, which begin with it, has
// no revoked certificate in it.
func (r *revocation) check(chains [][]*x509.Certificate) error {
	lists := r.current()
	var first error
	for _, chain := range chains {
		err := r.checkChain(chain, lists)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (r *revocation) checkChain(chain []*x509.Certificate, lists []revocationList) error {
	now := r.now()
	for i, cert := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		named, current := false, false
		for _, list := range lists {
			if !bytes.Equal(list.RawIssuer, cert.RawIssuer) {
				continue
			}
			named = true
			if list.CheckSignatureFrom(issuer) != nil {
				continue // of another authority with that name
			}
			if list.serials[cert.SerialNumber.String()] {
				return &certificateError{DropCertificateRevoked,
					fmt.Sprintf("the certificate of %s, serial number %x, is revoked", namesOf(cert), cert.SerialNumber)}
			}
			current = current || !now.Before(list.ThisUpdate) && !now.After(list.NextUpdate)
		}
		switch {
		case current:
		case named:
			return &certificateError{DropCertificateRevocation,
				fmt.Sprintf("the revocation list of %.100q has expired, or another key signed it", cert.Issuer.String())}
		case i == 0:
			return &certificateError{DropCertificateRevocation,
				fmt.Sprintf("there is no revocation list of %.100q, which issued the certificate of %s", cert.Issuer.String(), namesOf(cert))}
		}
	}
	return nil
}
