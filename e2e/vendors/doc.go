// Package vendors stands in for the services that the connectors are for.
//
// Job: answer over HTTP as the vendors' public documentation says that they
// answer: their rules of tokens, their limits and how they say so, their paging,
// their errors, and a few records that have the members which the documentation
// names. Each file names the pages that it was written from.
//
// It owns what a vendor is taken to be. It must not know the connectors or
// anything else of ours: it is what they are judged by.
package vendors
