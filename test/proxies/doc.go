// Package proxies calls through a running causeway with what stands around it in a network: Kamailio as the proxy of a
// pool, over mutual TLS, recording its route and forking; a second causeway at the far end of the gateway link; baresip
// as a phone that holds and resumes; gateways found by DNS, of which some are dead; and the load that the project
// promises.
//
// Every test has a network of loopback to itself, in which each party has an address and the port that its protocol
// gives it. A test whose peer is not installed is skipped with the reason, which CI counts as a failure.
package proxies
