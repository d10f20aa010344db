package interop

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"causeway/test/rig"
)

// Built once for all tests.
var binaries rig.Binaries

// certs are the files of a throw-away authority and one certificate for every
// address that the tests use.
var certs rig.PKI

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// The SIP library of the in-process endpoints warns by the global logger
	// about its own reference counts; it says nothing about the calls.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	dir, err := os.MkdirTemp("", "causeway-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		return 1
	}
	defer os.RemoveAll(dir)

	if binaries, err = rig.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "interop: build causeway:", err)
		return 1
	}
	if certs, err = rig.NewPKI(filepath.Join(dir, "tls"), "127.0.0.1", "127.0.0.2", "127.0.0.3"); err != nil {
		fmt.Fprintln(os.Stderr, "interop: make certificates:", err)
		return 1
	}
	return m.Run()
}
