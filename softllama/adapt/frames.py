"""Words by class, and texts with a place for one of them. Data only.

The texts are such that the word matters for what follows. A class's words that are not one token in a model are left out for it.
"""

from __future__ import annotations

WORDS: dict[str, str] = {
    "country": "France Germany Italy Spain Japan China India Brazil Mexico Canada Egypt Greece Russia Poland Sweden "
    "Norway Finland Denmark Ireland Turkey Iran Iraq Israel Kenya Nigeria Peru Chile Cuba Argentina Australia "
    "Austria Belgium Portugal Hungary Romania Ukraine Thailand Vietnam Indonesia Pakistan Ethiopia Morocco "
    "Switzerland England Scotland Colombia Venezuela Korea",
    "city": "Paris London Berlin Rome Madrid Tokyo Moscow Vienna Athens Cairo Delhi Beijing Sydney Toronto Chicago "
    "Boston Dublin Amsterdam Venice Florence Barcelona Mumbai Shanghai Singapore Istanbul Jerusalem Houston "
    "Seattle Denver Miami Philadelphia",
    "animal": "dog cat cow horse sheep pig goat lion tiger bear wolf fox rabbit mouse rat elephant monkey bird eagle "
    "owl duck chicken frog snake turtle fish shark whale dolphin bee ant spider butterfly deer camel donkey "
    "penguin crow squirrel dragon",
    "job": "doctor nurse teacher farmer soldier lawyer judge baker cook painter writer poet singer dancer actor "
    "pilot sailor driver engineer scientist chemist carpenter king queen priest police thief merchant student "
    "professor miner fisherman banker surgeon",
    "food": "bread cheese butter milk honey sugar salt rice pasta pizza soup meat beef pork chicken fish egg apple "
    "banana orange lemon grape tomato potato onion carrot corn wheat chocolate cake coffee tea wine beer "
    "water juice cream garlic",
    "colour": "red blue green yellow black white brown pink purple orange grey gold silver",
    "instrument": "piano violin guitar drum flute trumpet harp organ bell horn",
    "month": "January February March April May June July August September October November December",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "number": "one two three four five six seven eight nine ten eleven twelve twenty thirty fifty hundred thousand",
    "sport": "football basketball baseball tennis golf hockey swimming running boxing cricket chess soccer volleyball "
    "cycling",
    "material": "gold silver iron copper steel glass wood stone paper plastic cotton wool leather rubber clay sand ice "
    "concrete oil",
    "vehicle": "car bus train bicycle boat ship plane truck rocket horse tank motorcycle van",
    "body": "hand foot head eye ear nose mouth heart brain knee arm leg finger tooth skin bone lung stomach liver "
    "blood",
    "feeling": "happy sad angry afraid tired hungry cold hot bored proud lonely sick excited nervous calm surprised",
    "subject": "mathematics physics chemistry biology history geography music art philosophy economics law medicine "
    "astronomy psychology",
    "season": "spring summer autumn winter night morning evening noon",
    "place": "school hospital church library kitchen garden forest beach desert mountain river farm market prison "
    "theater museum restaurant airport office bank hotel castle ocean island cave",
    "tool": "hammer knife saw needle spoon fork pen brush rope axe ladder key lamp clock mirror camera phone computer "
    "telescope microscope thermometer",
    "person": "he she they Mary John Peter Anna Tom David Sarah mother father brother sister grandmother uncle baby boy "
    "girl man woman",
}

FRAMES: dict[str, tuple[str, ...]] = {
    "country": (
        "The capital of {} is the city of",
        "In {}, most people speak",
        "The money that is used in {} is called the",
        "A famous person from {} is",
        "She was born in {} and so her first language is",
        "When you travel to {}, you should try the local",
        "The weather in {} is usually",
        "The national flag of {} has the colours",
        "The largest city of {} is",
        "He moved from {} to the neighbouring country of",
        "The people who live in {} are called",
        "{} is a country on the continent of",
    ),
    "city": (
        "The city of {} is in the country of",
        "When we visited {}, we saw the famous",
        "The river that flows through {} is called the",
        "People who live in {} speak",
        "Our flight landed in {}, the capital of",
        "A tourist in {} should not miss the",
        "The museum in {} is known for its",
    ),
    "animal": (
        "The {} makes a sound that is called a",
        "A young {} is called a",
        "The {} likes to eat",
        "The {} lives in the",
        "Like every {}, it has",
        "The {} ran away because it saw a",
        "At night the {} sleeps in its",
        "We took a picture of the {} while it was",
        "The farmer keeps a {} because it gives him",
        "The skin of a {} is covered with",
        "The {} opened its mouth and",
    ),
    "job": (
        "The {} went to work in the",
        "A {} needs a good",
        "My father is a {}. Every day he",
        "The {} picked up the",
        "To become a {}, you have to study",
        "The {} was wearing a",
        "Everybody in the village asks the {} for",
        "The {} put the tools into the",
        "The {} was proud of his",
    ),
    "food": (
        "She bought some {} to make a",
        "The taste of {} is",
        "The colour of {} is",
        "You can make {} from",
        "They ate {} together with",
        "{} should be kept in the",
        "The child did not like the {} because it was too",
        "The smell of fresh {} came from the",
        "Before you eat the {}, you have to",
    ),
    "colour": (
        "The {} light means that you have to",
        "She painted it {}, like the",
        "Things that are {} are for example the",
        "He mixed {} with white and got",
        "In our culture {} stands for",
        "The sky turned {} because the",
        "She wore a {} dress to the",
    ),
    "instrument": (
        "She plays the {} in the",
        "To play the {}, you use your",
        "The sound of the {} is",
        "A {} has many",
        "The musician took the {} and began to",
        "The {} is made of",
    ),
    "month": (
        "The month after {} is",
        "The month before {} is",
        "In {} the weather is",
        "The holiday that we celebrate in {} is",
        "In {} the days are getting",
        "It was the first of {}, and outside",
    ),
    "day": (
        "The day after {} is",
        "The day before {} is",
        "Every {} we go to the",
        "The shop is closed on {}, but it is open on",
        "Today is {}, so tomorrow is",
    ),
    "number": (
        "The number after {} is",
        "Twice {} is",
        "She had {} apples and gave away one, so now she has",
        "There are {} days in a",
        "If you add one to {}, you get",
        "The child is {} years old and goes to",
        "They waited for {} minutes and then",
    ),
    "sport": (
        "To play {}, you need a",
        "The best player of {} won the",
        "In {} a team has",
        "He hurt his {} coach with a",
        "We watched the {} match in the",
        "The rules of {} say that you may not",
        "People who do {} are strong in the",
    ),
    "material": (
        "The ring was made of {} and it was very",
        "A thing that is made of {} is the",
        "{} comes from",
        "When you heat {}, it",
        "The house was built of {}, so it was",
        "The colour of {} is",
        "You can cut {} with a",
    ),
    "vehicle": (
        "We went there by {} and arrived at the",
        "The driver of the {} stopped at the",
        "A {} needs",
        "The {} moved along the",
        "A {} has more wheels than a",
        "They waited for the {} at the",
        "The {} was broken, so they had to",
    ),
    "body": (
        "He hurt his {} and could not",
        "We use the {} to",
        "She put a ring on her {} and a hat on her",
        "The doctor looked at his {} and said that he needed",
        "The {} is connected to the",
        "There was something wrong with her {}, so she went to the",
    ),
    "feeling": (
        "She was {} because she had",
        "When I am {}, I like to",
        "He looked {}, so I gave him a",
        "The boy was so {} that he began to",
        "People who are {} often",
        "Do not be {}, said the mother, we will",
    ),
    "subject": (
        "She studies {} because she wants to become a",
        "In the {} class we learned about",
        "The most famous book about {} was written by",
        "To understand {}, you have to know",
        "The professor of {} explained the",
        "{} is the study of",
    ),
    "season": (
        "In the {} the children like to",
        "During the {} it is very",
        "When the {} comes, the birds",
        "The farmers work in the {} because the",
        "It was {} and the sky was",
    ),
    "place": (
        "We went to the {} to see the",
        "In the {} there were many",
        "The people in the {} were busy with their",
        "At the {} you can buy",
        "She works at the {} as a",
        "The {} was full of",
        "He was alone in the {} and heard a",
        "The sign in the {} says that you must not",
    ),
    "tool": (
        "She took the {} to",
        "You use a {} to",
        "A {} is made of",
        "With the {} in his hand he walked to the",
        "The {} was broken, and so he could not",
        "He put the {} next to the",
    ),
    "person": (
        "Then {} came home and put down",
        "The present was for {}, who had always wanted a",
        "I asked {} to wash",
        "We waited for {} because",
        "A letter came for {}, and in it was",
        "Yesterday {} was sick, so",
    ),
}

TWO: tuple[tuple[str, str, str], ...] = (  # a text with two places, and the classes of both
    ("In the kitchen they mixed {} with {} and made a", "food", "food"),
    ("The {} chased the {} into the", "animal", "animal"),
    ("They travelled from {} to {} by", "country", "country"),
    ("The {} gave the {} a", "job", "job"),
    ("On {} she was {} because", "day", "feeling"),
    ("The {} in the {} was looking for", "animal", "place"),
    ("The flag is {} and {}, like the flag of", "colour", "colour"),
    ("In {} the {} is always", "month", "place"),
    ("The {} was carrying a {} to the", "job", "tool"),
    ("The {} is made of {} and belongs to", "tool", "material"),
    ("People from {} work as a {} in", "country", "job"),
    ("Both {} and {} are needed for", "subject", "subject"),
)
