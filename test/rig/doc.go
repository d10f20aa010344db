// Package rig holds what the tests with real peers share: programs that are run and ended by their own pid, ports and
// certificates of their own, and the causeway binary under test with its admin server and its records. It speaks neither
// SIP nor TURN.
package rig
