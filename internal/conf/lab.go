package conf

import (
	"fmt"
	"os"
	"path/filepath"

	"causeway/configs"
)

// labFile is the name that positions in the built-in lab configuration are reported with.
const labFile = "lab.yaml"

// Lab returns the built-in lab configuration, with its state kept in stateDir and with certificates from
// <stateDir>/lab: an authority of the lab's own, a certificate for causeway, one for the endpoints that call it, and
// one for A/V authentication.
// Files that are there and good are kept; the others are made. An empty stateDir stands for the one the file names,
// relative to the working directory.
//
// An error is Errors when the built-in file itself is at fault, and otherwise says what could not be written.
func Lab(stateDir string) (*Config, error) {
	return lab(stateDir, thisHost)
}

func lab(stateDir string, h host) (*Config, error) {
	if stateDir == "" {
		var file Config
		decoder{newReport(labFile)}.decode(configs.Lab, &file)
		stateDir = file.StateDir
	}
	stateDir, err := filepath.Abs(stateDir)
	if err != nil {
		return nil, fmt.Errorf("find the state folder: %w", err)
	}
	if err := os.MkdirAll(stateDir, 0o750); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	files := labFiles{dir: filepath.Join(stateDir, "lab"), now: h.now()}
	if err := files.ensure(); err != nil {
		return nil, fmt.Errorf("make the lab's certificates: %w", err)
	}
	cfg, _, err := parse(labFile, configs.Lab, h, func(cfg *Config) {
		cfg.StateDir = stateDir
		for _, section := range cfg.tlsSections() {
			section.Certificate, section.Key, section.CA = files.path("causeway.pem"), files.path("causeway.key"), files.path("ca.pem")
		}
		cfg.Relay.Credentials.Certificate, cfg.Relay.Credentials.Key = files.path("av.pem"), files.path("av.key")
	})
	return cfg, err
}
