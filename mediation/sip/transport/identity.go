package transport

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// IdentityOptions say who a side is over TLS and whom it believes.
type IdentityOptions struct {
	Certificate, Key string // PEM files; both empty: nothing to show, and no server role
	CA               string // PEM file of authorities; empty: the system's
	// CRL is a file of revocation lists, PEM or DER, one or many; empty: no
	// revocation is checked. With it, the issuer of every peer's certificate
	// must have a list in it that is signed by that issuer and not expired;
	// for authorities in between, a list is heeded where there is one. A
	// changed file is read anew, at most once per crlInterval; one that cannot
	// be used leaves the old lists.
	CRL string
	// ClientAuth is what peers that connect must show: tls.NoClientCert (off),
	// tls.VerifyClientCertIfGiven (optional) or tls.RequireAndVerifyClientCert
	// (required).
	ClientAuth tls.ClientAuthType
	// Names: a peer's certificate must carry one of them exactly, as its
	// common name or as a subject alternative name (dns, ip, or sip uri), in
	// either role. A wildcard matches nothing. Empty: any name may connect to
	// us. What Dial asks for is checked as well, by the same rule.
	Names []string

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // for a revocation list that cannot be read anew; nil: nobody is told
}

// certificateError is why a peer's certificate was refused.
type certificateError struct {
	drop Drop
	text string
}

func (e *certificateError) Error() string { return e.text }

// dropOf is the counter of a handshake that failed.
func dropOf(err error) Drop {
	var ours *certificateError
	var invalid x509.CertificateInvalidError
	var hostname x509.HostnameError
	var chain *tls.CertificateVerificationError
	switch {
	case errors.As(err, &ours):
		return ours.drop
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return DropCertificateExpired
	case errors.As(err, &hostname):
		return DropCertificateName
	case errors.As(err, &chain):
		return DropCertificateChain
	}
	return DropTLSHandshake
}

// Identity makes the TLS configurations of both roles from files. server is
// nil without a certificate. Errors name the file or the name at fault. What
// verifies is in the configurations' VerifyConnection: they are to be cloned,
// not taken apart.
func Identity(opts IdentityOptions) (server, client *tls.Config, err error) {
	v := &verifier{names: opts.Names, now: opts.Now}
	if v.now == nil {
		v.now = time.Now
	}
	for _, name := range opts.Names {
		if name == "" || strings.Contains(name, "*") {
			return nil, nil, fmt.Errorf("%q cannot be the name of a certificate: it has to be one host's", name)
		}
	}
	var authorities []*x509.Certificate
	if opts.CA != "" {
		if authorities, err = readCertificates(opts.CA); err != nil {
			return nil, nil, err
		}
		v.roots = x509.NewCertPool()
		for _, cert := range authorities {
			v.roots.AddCert(cert)
		}
	}
	if opts.CRL != "" {
		if v.revoked, err = loadRevocation(opts.CRL, authorities, v.now, opts.Log); err != nil {
			return nil, nil, err
		}
	}
	// Verification is ours alone: crypto/tls takes a wildcard for a name and
	// does not look at the common name.
	client = &tls.Config{
		RootCAs: v.roots, MinVersion: tls.VersionTLS12, Time: v.now,
		InsecureSkipVerify: true, VerifyConnection: v.server,
	}
	if opts.Certificate == "" {
		return nil, client, nil
	}
	cert, err := tls.LoadX509KeyPair(opts.Certificate, opts.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("read the certificate %s and its key: %w", opts.Certificate, err)
	}
	client.Certificates = []tls.Certificate{cert}
	server = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: v.roots, MinVersion: tls.VersionTLS12, Time: v.now,
		// A resumed session would rest on what was true when it began.
		SessionTicketsDisabled: true,
	}
	switch opts.ClientAuth {
	case tls.NoClientCert:
	case tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert:
		server.ClientAuth = tls.RequestClientCert
		required := opts.ClientAuth == tls.RequireAndVerifyClientCert
		server.VerifyConnection = func(state tls.ConnectionState) error { return v.client(state, required) }
	default:
		return nil, nil, fmt.Errorf("client authentication %v is neither off, optional nor required", opts.ClientAuth)
	}
	return server, client, nil
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the authorities: %w", err)
	}
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the authorities of %s: %w", path, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return certs, nil
}

// verifier decides on the certificates of peers.
type verifier struct {
	roots   *x509.CertPool // nil: the system's
	names   []string
	revoked *revocation // nil: not checked
	now     func() time.Time
}

// client verifies a peer that connected to us. Gateways have one certificate
// for both roles, and public authorities issue them for servers alone: either
// usage will do.
func (v *verifier) client(state tls.ConnectionState, required bool) error {
	if len(state.PeerCertificates) == 0 && !required {
		return nil
	}
	return v.verify(state.PeerCertificates, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, "")
}

// server verifies a peer that we connected to. The name that Dial was given
// comes as the connection's server name.
func (v *verifier) server(state tls.ConnectionState) error {
	return v.verify(state.PeerCertificates, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, state.ServerName)
}

func (v *verifier) verify(shown []*x509.Certificate, usages []x509.ExtKeyUsage, dialled string) error {
	if len(shown) == 0 {
		return &certificateError{DropCertificateMissing, "the peer showed no certificate"}
	}
	leaf := shown[0]
	now := v.now()
	options := x509.VerifyOptions{Roots: v.roots, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: usages}
	for _, cert := range shown[1:] {
		options.Intermediates.AddCert(cert)
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return chainError(shown, now, err)
	}
	if dialled != "" && !matchName(leaf, dialled) {
		return nameError(leaf, dialled)
	}
	if len(v.names) > 0 && !slices.ContainsFunc(v.names, func(name string) bool { return matchName(leaf, name) }) {
		return nameError(leaf, v.names...)
	}
	if v.revoked == nil {
		return nil
	}
	return v.revoked.check(chains)
}

// chainError says why a chain does not verify. What is out of date is named
// first: without it there would be a chain.
func chainError(shown []*x509.Certificate, now time.Time, err error) error {
	for _, cert := range shown {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return &certificateError{DropCertificateExpired, fmt.Sprintf("the certificate of %s is valid from %s to %s",
				namesOf(cert), cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))}
		}
	}
	return &certificateError{DropCertificateChain, fmt.Sprintf("the certificate of %s, issued by %.100q, leads to no authority that is configured: %v",
		namesOf(shown[0]), shown[0].Issuer.String(), err)}
}

func nameError(leaf *x509.Certificate, expected ...string) error {
	return &certificateError{DropCertificateName, fmt.Sprintf("the certificate carries %s, expected is %s exactly",
		namesOf(leaf), strings.Join(expected, " or "))}
}

// matchName says whether a certificate carries a name: exactly, but for the
// case of letters, which DNS does not tell apart.
func matchName(cert *x509.Certificate, name string) bool {
	name = strings.TrimSuffix(name, ".")
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		for _, ip := range cert.IPAddresses {
			if carried, ok := netip.AddrFromSlice(ip); ok && carried.Unmap() == addr.Unmap() {
				return true
			}
		}
		carried, err := netip.ParseAddr(cert.Subject.CommonName)
		return err == nil && carried.Unmap() == addr.Unmap()
	}
	if strings.EqualFold(cert.Subject.CommonName, name) {
		return true
	}
	for _, dns := range cert.DNSNames {
		if strings.EqualFold(dns, name) {
			return true
		}
	}
	for _, uri := range cert.URIs { // RFC 5922 7.1: without a user part it is the domain's
		if strings.EqualFold(uri.Scheme, "sip") && strings.EqualFold(uri.Opaque, name) {
			return true
		}
	}
	return false
}

// maxNames bounds what of a peer's certificate is written into a log line.
const maxNames = 8

// namesOf are the names that a certificate carries, for people.
func namesOf(cert *x509.Certificate) string {
	var names []string
	if cert.Subject.CommonName != "" {
		names = append(names, fmt.Sprintf("CN %.100q", cert.Subject.CommonName))
	}
	for _, dns := range cert.DNSNames {
		names = append(names, fmt.Sprintf("DNS %.100q", dns))
	}
	for _, ip := range cert.IPAddresses {
		names = append(names, "IP "+ip.String())
	}
	for _, uri := range cert.URIs {
		names = append(names, fmt.Sprintf("URI %.100q", uri.String()))
	}
	if len(names) == 0 {
		return "no name"
	}
	if more := len(names) - maxNames; more > 0 {
		names = append(names[:maxNames], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// Carries says whether a certificate carries one of the names, exactly; nil
// carries none.
func Carries(leaf *x509.Certificate, names []string) bool {
	return leaf != nil && slices.ContainsFunc(names, func(name string) bool { return matchName(leaf, name) })
}
