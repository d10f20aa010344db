package issue

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"causeway/internal/conf"
)

// Side is which side of the relay a client is on.
type Side string

// The sides.
const (
	External Side = "external"
	Internal Side = "internal"
)

// AllURIs returns what clients of each side are to be told.
func AllURIs(r *conf.Relay) map[Side][]string {
	return map[Side][]string{External: URIs(r, External), Internal: URIs(r, Internal)}
}

// URIs returns where clients of a side reach the relay, as TURN URIs (RFC 7065 section 3): those without TLS first, in
// the order of the configuration. Behind a one-to-one NAT they have the external address. Those of TLS have the
// address when the certificate is good for it, and otherwise the first name of the certificate.
func URIs(r *conf.Relay, side Side) []string {
	listen := r.Listen
	if side == Internal {
		listen = r.Internal.Listen
	}
	leaf := readLeaf(r.TLS.Certificate)
	plain, secure := []string{}, []string{}
	for _, l := range listen {
		addr := outside(r, l.Addr)
		transport := "tcp"
		if l.Datagrams() {
			transport = "udp"
		}
		if l.Network == "udp" || l.Network == "tcp" {
			plain = append(plain, "turn:"+addr.String()+"?transport="+transport)
		}
		if l.Network != "udp" && leaf != nil {
			secure = append(secure, "turns:"+tlsHost(addr, leaf)+"?transport="+transport)
		}
	}
	return append(plain, secure...)
}

// outside is the address that clients know a listener by.
func outside(r *conf.Relay, listen netip.AddrPort) netip.AddrPort {
	if bound, ok := r.RelayAddress(r.ExternalAddress); ok && bound == listen.Addr() {
		return netip.AddrPortFrom(r.ExternalAddress, listen.Port())
	}
	return listen
}

// tlsHost is the host and port of a turns: URI that a client can verify the certificate by.
func tlsHost(addr netip.AddrPort, leaf *x509.Certificate) string {
	if leaf.VerifyHostname(addr.Addr().String()) == nil {
		return addr.String()
	}
	for _, name := range leaf.DNSNames {
		if !strings.HasPrefix(name, "*.") {
			return net.JoinHostPort(name, strconv.Itoa(int(addr.Port())))
		}
	}
	return addr.String()
}

// readLeaf reads the first certificate of a PEM file; nil when there is none.
func readLeaf(file string) *x509.Certificate {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil
		}
		return leaf
	}
	return nil
}
