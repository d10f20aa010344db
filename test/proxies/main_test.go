package proxies

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"causeway/test/rig"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// What all tests use, made once.
var (
	binaries  rig.Binaries
	authority *rig.Authority
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	rig.WaitTogether()
	// The SIP library of the in-process endpoints warns by the global logger about its own reference counts; it says
	// nothing about the calls.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	dir, err := os.MkdirTemp("", "causeway-proxies-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxies:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binaries, err = rig.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "proxies: build causeway:", err)
		return 1
	}
	if authority, err = rig.NewAuthority(filepath.Join(dir, "tls"), "causeway test authority"); err != nil {
		fmt.Fprintln(os.Stderr, "proxies: make an authority:", err)
		return 1
	}
	return m.Run()
}
