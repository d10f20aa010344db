// Package rig holds what the tests with real peers share: programs that are run and ended by their own pid, ports and
// certificates of their own, and the causeway binary under test. It knows nothing of SIP or TURN.
package rig
