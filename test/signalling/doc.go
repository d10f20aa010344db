// Package signalling calls through a running causeway with peers that bend SIP each in their own way.
package signalling
