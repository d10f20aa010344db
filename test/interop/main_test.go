package interop

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Built once for all tests. checked carries the race detector, which makes it
// several times slower; plain is for tests of load.
var binaries struct{ checked, plain string }

// certs are the files of a throw-away authority and one certificate for every
// address that the tests use.
var certs pki

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

	binaries.checked = filepath.Join(dir, "causeway-race")
	binaries.plain = filepath.Join(dir, "causeway")
	if err := build(binaries.plain, "0"); err != nil {
		fmt.Fprintln(os.Stderr, "interop: build causeway:", err)
		return 1
	}
	// The race detector needs a C compiler. Without one the calls are still
	// worth making.
	if err := build(binaries.checked, "1", "-race"); err != nil {
		fmt.Fprintln(os.Stderr, "interop: going on without the race detector:", err)
		binaries.checked = binaries.plain
	}
	if certs, err = makePKI(filepath.Join(dir, "tls")); err != nil {
		fmt.Fprintln(os.Stderr, "interop: make certificates:", err)
		return 1
	}
	return m.Run()
}

func build(out, cgo string, flags ...string) error {
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, "causeway/cmd/causeway")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}
