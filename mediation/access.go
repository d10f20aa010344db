package mediation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"causeway/internal/conf"
	"causeway/mediation/sip"
)

// resolveTimeout bounds the look-up of a configured name at start.
const resolveTimeout = 10 * time.Second

func allowPrefixes(prefixes []netip.Prefix) sip.Allow {
	return func(a netip.Addr) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}
}

// allowHost allows the addresses of one host, looked up once when it is a name.
func allowHost(host string) (sip.Allow, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		return func(a netip.Addr) bool { return a == addr }, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return func(a netip.Addr) bool { return slices.Contains(addrs, a) }, nil
}

// tlsConfigs are the configurations of a side's listeners, nil without a
// certificate, and of its own connections. The certificate is shown in either
// role. Peers are verified against CA, or the system's roots when CA is not
// set: the peer that we call always, the one that calls us as auth says.
func tlsConfigs(t conf.TLS, auth tls.ClientAuthType) (server, client *tls.Config, err error) {
	var roots *x509.CertPool
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, nil, fmt.Errorf("read tls.ca: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, nil, errors.New("tls.ca holds no certificate: " + t.CA)
		}
	}
	client = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if t.Certificate == "" {
		return nil, client, nil
	}
	cert, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("read tls.certificate and tls.key: %w", err)
	}
	client.Certificates = []tls.Certificate{cert}
	server = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: auth, ClientCAs: roots, MinVersion: tls.VersionTLS12,
	}
	return server, client, nil
}
