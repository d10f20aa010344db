package signalling

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests that the package's documentation names are there.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(source)
	}
	for _, name := range regexp.MustCompile(`\bTest\w+`).FindAllString(string(text), -1) {
		if !strings.Contains(code.String(), "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("doc.go names %s, which is not there", name)
		}
	}
}
