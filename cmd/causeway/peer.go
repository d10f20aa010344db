package main

import (
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"

	"causeway/internal/conf"
	"causeway/relay"
	"causeway/relay/auth"
)

type checkPeerCmd struct {
	Peer   string `arg:"" placeholder:"ADDR[:PORT]" help:"Address of the peer, with or without a port."`
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration file with the relay's rules."`
}

// Run asks the policy that the relay would ask, on this host. It exits with 1
// when nothing can be done with the peer.
func (c *checkPeerCmd) Run(std streams) error {
	addr, port, err := parsePeer(c.Peer)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	cfg, err := loadRelay(c.Config, std.err)
	if err != nil {
		return err
	}
	policy, err := relay.NewPolicy(cfg)
	if err != nil {
		return err
	}
	if !printDecisions(std.out, policy, cfg.Ports, addr, port) {
		return &exitError{exitFailed, nil}
	}
	return nil
}

// parsePeer reads an address, with a port or without one: 0.
func parsePeer(text string) (netip.Addr, uint16, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr, 0, nil
	}
	peer, err := netip.ParseAddrPort(text)
	if err != nil || peer.Port() == 0 {
		return netip.Addr{}, 0, fmt.Errorf("%q is no IP address, with or without a port; names are not looked up", text)
	}
	return peer.Addr(), peer.Port(), nil
}

// printDecisions prints a line for each operation, and reports whether one of
// them is allowed. A relayed address of this relay is judged by the port, so
// that without one there are two answers.
func printDecisions(out io.Writer, policy *auth.Policy, relayed conf.PortRange, addr netip.Addr, port uint16) bool {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PEER\tPORT\tOPERATION\tCLASS\tDECISION\tRULE")
	allowed := false
	row := func(ports string, op auth.Op, d auth.Decision) {
		decision, rule := "denied", d.Rule
		if d.Allowed {
			decision, allowed = "allowed", true
		}
		if d.Form != "" {
			rule += ", by the IPv4 address inside (" + d.Form + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", addr, ports, op, d.Class, decision, rule)
	}
	operations := []auth.Op{auth.UDPIn, auth.UDPOut, auth.TCPConnect, auth.TCPAccept}
	own := policy.Address(addr, auth.UDPOut.Set()).Class == auth.ClassOwn
	for _, op := range operations {
		switch {
		case port != 0:
			row(fmt.Sprint(port), op, policy.Endpoint(netip.AddrPortFrom(addr, port), op))
		case own:
			row(relayed.String(), op, policy.Endpoint(netip.AddrPortFrom(addr, relayed.First), op))
		default:
			row("any", op, policy.Address(addr, op.Set()))
		}
	}
	if own && port == 0 {
		for _, op := range operations {
			row("others", op, policy.Endpoint(netip.AddrPortFrom(addr, relayed.First-1), op))
		}
	}
	_ = w.Flush()
	return allowed
}
