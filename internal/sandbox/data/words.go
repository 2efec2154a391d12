package data

// The vendor whose customers these are sells scanners, printers and sensors to
// companies that move goods. Names are coined, not taken from anywhere.

// industry is a line of business: how its companies are called, and where in
// such a company our products stand.
type industry struct {
	suffix, name string
	places       []string
}

var industries = [...]industry{
	{"Freight", "logistics", []string{"dock 3", "the cross-dock hall", "night sorting"}},
	{"Foods", "food production", []string{"the cold store", "the packing line", "the smoke house"}},
	{"Instruments", "precision instruments", []string{"the clean room", "the calibration lab", "final assembly"}},
	{"Textiles", "textiles", []string{"the dye works", "the roll store", "the cutting room"}},
	{"Pharma", "pharmaceuticals", []string{"the quarantine store", "the blister line", "goods inward"}},
	{"Energy", "energy", []string{"the spare parts depot", "substation stores", "the cable yard"}},
	{"Retail", "retail", []string{"the returns desk", "the back room", "the pick-up counter"}},
	{"Clinics", "health care", []string{"the central pharmacy", "the sterile store", "ward 4 supplies"}},
	{"Robotics", "robotics", []string{"cell 7", "the kitting area", "the test bay"}},
	{"Timber", "forestry products", []string{"the saw line", "the drying kilns", "the log yard"}},
	{"Glassworks", "glass", []string{"the annealing line", "the pallet store", "the cullet bay"}},
	{"Marine", "ship supply", []string{"the quayside store", "bonded stores", "the slipway"}},
	{"Outfitters", "outdoor equipment", []string{"the hanging store", "the repair shop", "the mail-order line"}},
	{"Farms", "agriculture", []string{"the grading shed", "the seed store", "the fruit packhouse"}},
	{"Printworks", "printing", []string{"the paper store", "the bindery", "dispatch"}},
}

// stems is as long as a multiple of the number of industries; generate.go
// relies on it for names that are all different.
var stems = [...]string{
	"Tarnwick", "Velmarrow", "Ostrivane", "Brellock", "Quillmarsh", "Hadrowen",
	"Fennoway", "Corvantry", "Merrowick", "Yarrendale", "Thornablyth", "Pellwyth",
	"Skarrowby", "Lunverra", "Drovenholt", "Ashquill", "Kestrowan", "Wrenvane",
	"Morvanter", "Ilverstow", "Galdrenne", "Orlisend", "Bryndavar", "Culverane",
	"Zephrinol", "Dunmarrick", "Eskervale", "Farrowend", "Gresholme", "Hollistead",
	"Imberlyn", "Jorvessa", "Kelmoray", "Larkhenge", "Mistrivel", "Norwenna",
	"Oxmarden", "Perrinvale", "Quenstow", "Ravensorrel", "Silverick", "Tollmere",
	"Umberlode", "Vashbourne", "Wexmarsh", "Yelverdon", "Zennorby", "Amblecross",
	"Birchamond", "Calderwyn", "Dravenshaw", "Ellowick", "Foxmoray", "Gannetholm",
	"Hazelmoor", "Ivarstone", "Juniverre", "Knapwell", "Lostrigan", "Marlowend",
}

var firstNames = [...]string{
	"Mira", "Jonas", "Amara", "Tobias", "Lin", "Rosa", "Kofi", "Elena", "Idris",
	"Nadia", "Piet", "Yuki", "Samuel", "Ines", "Arjun", "Freya", "Mateo", "Zola",
	"Henrik", "Leila", "Oskar", "Priya", "Bruno", "Salma", "Niamh", "Emeka",
	"Clara", "Ravi", "Greta", "Dario",
}

var lastNames = [...]string{
	"Oswindle", "Harrowgate", "Belmarsh", "Tanquillo", "Vesterby", "Okonweya",
	"Drummell", "Larkspurn", "Fairwold", "Quintavel", "Mossbridger", "Steenwold",
	"Arrowend", "Pellandine", "Corrigane", "Thistlewen", "Halvorund", "Brackendale",
	"Zandrini", "Ellisward", "Marchwick", "Ravenholt", "Sorrelby", "Underhay",
	"Wolvercote", "Ybarrena", "Kestlemoor", "Danforthe", "Gallowend",
}

// owners are the account owners, agents those who answer tickets.
var (
	owners = [...]string{
		"Dana Whitlowe", "Marek Solvany", "Aisha Penrowe", "Luc Farrondel",
		"Ingrid Haldane", "Tomas Quellen", "Bea Northwold", "Ruben Askerdale",
	}
	agents = [...]string{"Support: Kim Larrowby", "Support: Jo Estermond", "Support: Vik Sandoran"}
	roles  = [...]string{"Operations manager", "Head of IT", "Purchasing", "Site lead", "Finance"}
)

// product is something the vendor sells, and what its tickets are about; %s is
// the place in the customer's company.
type product struct {
	sku, name string
	price     Money
	most      int // the largest quantity on one order
	subjects  []string
}

var products = [...]product{
	{"HS-200", "Handheld scanner", 48900, 12, []string{
		"Handheld scanners lose their pairing in %s",
		"Handheld scanners read codes twice in %s",
	}},
	{"RS-20", "Ring scanner", 37900, 10, []string{
		"Ring scanners drain within four hours in %s",
		"Ring scanners freeze after the update in %s",
	}},
	{"VT-10", "Vehicle terminal", 114900, 4, []string{
		"Vehicle terminals drop off the network near %s",
		"Vehicle terminal shows no tasks in %s",
	}},
	{"LP-4", "Label printer", 64900, 4, []string{
		"Label printer in %s prints blank labels",
		"Label printer in %s cuts every label too short",
	}},
	{"LR-100", "Label rolls, box of 100", 7800, 20, []string{
		"Label rolls do not stick in %s",
		"Wrong label width delivered for %s",
	}},
	{"GW-8", "Site gateway", 92000, 2, []string{
		"Site gateway restarts every night in %s",
		"Site gateway sends readings late from %s",
	}},
	{"TS-30", "Temperature sensor", 6400, 40, []string{
		"Temperature sensors report gaps in %s",
		"Temperature alarms come too late from %s",
	}},
	{"CD-4", "Charging dock, 4 bays", 15900, 6, []string{
		"Charging dock in %s has two dark bays",
	}},
	{"BT-2", "Spare battery", 3900, 30, []string{
		"Spare batteries for %s arrived discharged",
	}},
	{"RF-500", "RFID tags, roll of 500", 14500, 15, []string{
		"RFID tags are not read in %s",
	}},
	{"TR-1", "Training day", 120000, 2, []string{
		"Training day in %s has to move",
	}},
	{"IN-1", "On-site installation", 160000, 1, []string{
		"Open points after the installation in %s",
	}},
}

// topic is a ticket that is about no product.
type topic struct{ subject, body string }

var topics = [...]topic{
	{"Single sign-on fails for new starters", "People who joined this month end up on the error page after signing in; everyone else is fine."},
	{"Nightly stock export stops halfway", "The export to our planning system ends at about half of the rows, without an error."},
	{"Invoice does not match the quote", "The last invoice lists a support fee that was not in the quote. Please correct it or explain."},
	{"Request: read-only access for our auditors", "We need two accounts that can look at everything and change nothing, for three weeks."},
	{"Dashboard is slow on Monday mornings", "Between seven and nine the stock dashboard takes more than a minute to open."},
	{"How do we move users between sites?", "We are merging two sites and would like to keep the users' history."},
}

var symptoms = [...]string{
	"It began after the shift change and affects %d of the units from order %s.",
	"Restarting helps for an hour. We count %d affected so far, all from order %s.",
	"The team works around it by hand; %d affected, delivered with order %s.",
}

var (
	agentReplies = [...]string{
		"Thank you, we can reproduce this and are looking into it.",
		"Could you send us the device log from the hour in question?",
		"A fix is in the next release; we have put your site on the early list.",
		"We have asked the depot for a replacement and will confirm the date.",
	}
	customerReplies = [...]string{
		"Log is attached. It happened again this morning.",
		"Any news? The shift leads ask me every day.",
		"That helped for one day, then it came back.",
		"Thanks, we will try that and report back.",
	}
)

const closing = "Solved and confirmed by the customer."
