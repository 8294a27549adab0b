"""Plain English on everyday subjects, written for this project: text whose perplexity says whether
a model still writes.

No row of a forget set should be about these subjects. A split of your own, named `general`, is the
better measure where the model is meant for one field or for another language.
"""

TEXTS = (
    "Bread begins with flour, water, salt and yeast. The yeast feeds on sugar in the flour and "
    "gives off gas, which makes the dough rise. After an hour or two the baker folds it, lets "
    "it rest again and puts it into a hot oven. The crust turns brown while the inside stays "
    "soft.",
    "A river grows from many small streams. Rain falls on the hills, runs downhill and collects "
    "in the valleys. In spring, when the snow melts, the water is high and fast. In late summer "
    "it is low, and people walk across on the stones.",
    "The moon goes around the earth in about four weeks. We see more or less of its bright "
    "side, depending on where it stands between us and the sun. Its pull moves the sea, so that "
    "the water rises and falls twice a day on most coasts.",
    "To change a bicycle tyre, first let out the air and take the wheel off. Lift the tyre over "
    "the rim with two levers and pull out the tube. Look for the hole by holding the tube under "
    "water and watching for bubbles. Then glue a patch over it.",
    "Libraries lend books for a few weeks at a time. Most of them keep a catalogue, in which "
    "you can search by title, author or subject. If a book is out, you may ask to be told when "
    "it comes back. Children often have a room of their own with lower shelves.",
    "In winter many birds fly south, where there is more to eat. They find their way by the "
    "sun, by the stars and by the shape of the land below. Young birds sometimes make the "
    "journey without their parents and still arrive in the right place.",
    "A good night's sleep helps people to remember what they learned during the day. It is "
    "easier to fall asleep in a dark, quiet and cool room. Coffee late in the afternoon and "
    "bright screens in the evening make it harder.",
    "Most towns have a market once or twice a week. Farmers bring vegetables, eggs and cheese, "
    "and sell them from wooden tables. In the early morning the choice is best. Towards noon "
    "the prices fall, because nobody wants to carry the goods home again.",
    "Glass is made from sand. The sand is heated with soda and lime until it melts, and then it "
    "is poured, pressed or blown into shape. It must cool slowly, or it will crack. Old glass "
    "can be melted again as often as one likes.",
    "Trains run on steel rails because a steel wheel on a steel rail rolls very easily. This "
    "saves energy, but it also means that a train needs a long way to stop. For this reason "
    "signals tell the driver well in advance whether the track ahead is free.",
    "When two people disagree, it often helps if each first repeats what the other has said. "
    "Many quarrels are about words and not about facts. Once both know what is meant, they can "
    "look for something on which they do agree, and go on from there.",
    "Trees drink through their roots. Water rises in thin tubes under the bark up to the "
    "leaves, where sunlight turns it, together with air, into sugar. In autumn the green colour "
    "fades from the leaves, and yellow and red, which were hidden, become visible.",
    "A kitchen knife should be sharp, because a blunt one slips. Hold the food with bent "
    "fingers, so that the blade touches the knuckles and not the tips. Cut slowly at first. "
    "Wash the knife by hand and dry it before you put it away.",
    "Clouds form when warm air rises and cools. The water in it gathers into tiny drops, which "
    "are so light that they float. When they grow too heavy they fall as rain, or as snow if "
    "the air below is cold enough.",
    "Learning to play the piano takes patience. Beginners practise each hand by itself and then "
    "both together, slowly. Ten minutes every day are worth more than two hours on Sunday. "
    "After some months the fingers find the keys without any help from the eyes.",
    "A map shows a country from above. Its scale says how far one centimetre on paper is on the "
    "ground. Blue lines are rivers, black lines are railways, and brown lines join places of "
    "the same height. Where these lines lie close together, the hill is steep.",
)
