package archtest

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// requirements returns the versions that go.mod requires, and which of them are
// required directly.
func requirements(mod string) (version map[string]string, direct map[string]bool) {
	version, direct = map[string]string{}, map[string]bool{}
	line := regexp.MustCompile(`^\t([a-zA-Z0-9][^ ]*\.[^ ]*/[^ ]*|[a-z.]+\.[a-z]+/[^ ]*) (v[^ ]+)( // indirect)?$`)
	for scan := bufio.NewScanner(strings.NewReader(mod)); scan.Scan(); {
		if m := line.FindStringSubmatch(scan.Text()); m != nil {
			version[m[1]], direct[m[1]] = m[2], m[3] == ""
		}
	}
	return version, direct
}

// go.mod says in a comment which versions are held back and why. The comment
// must name the versions that are required, or the reason is another version's.
func TestHeldBackVersionsAreTheRequiredOnes(t *testing.T) {
	mod := read(t, "go.mod")
	version, _ := requirements(mod)
	held := regexp.MustCompile(`(?m)^//\t([^\t ]+) (v[^ ]+)$`).FindAllStringSubmatch(mod, -1)
	if len(held) == 0 {
		t.Fatal("go.mod has no comment on the versions that are held back")
	}
	for _, h := range held {
		if got := version[h[1]]; got != h[2] {
			t.Errorf("go.mod's comment holds back %s at %s, but it is required at %q", h[1], h[2], got)
		}
	}
	for _, must := range []string{"github.com/pion/srtp/v3", "github.com/pion/srtp/v2"} {
		if !strings.Contains(mod, "//\t"+must+" v") {
			t.Errorf("go.mod's comment does not say why %s is held back", must)
		}
	}
}

func TestDependenciesAreDocumented(t *testing.T) {
	version, direct := requirements(read(t, "go.mod"))
	doc := read(t, "docs", "dependencies.md")
	n := 0
	for name, is := range direct {
		if !is {
			continue
		}
		n++
		if !strings.Contains(doc, "| "+name+" | ") {
			t.Errorf("docs/dependencies.md does not list %s with its licence", name)
		}
	}
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z.]+\.[a-z]+/[^ ]+) \|`).FindAllStringSubmatch(doc, -1) {
		if version[row[1]] == "" {
			t.Errorf("docs/dependencies.md lists %s, which go.mod does not require", row[1])
		}
	}
	if n < 5 {
		t.Fatalf("found %d direct requirements in go.mod, which cannot be all", n)
	}
}
