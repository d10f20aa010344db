// Package configs holds the configurations that come with the program.
package configs

import _ "embed"

// Manual is causeway.yaml: every setting with its unit, its allowed values and its default. It is the manual of the
// configuration and loads as it is once the addresses and the certificates in it exist.
//
//go:embed causeway.yaml
var Manual []byte

// Lab is lab.yaml: both roles on loopback addresses. It names no certificates; they are made in the state folder.
//
//go:embed lab.yaml
var Lab []byte
